import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises';

/** An open file of the log. Methods are those of Node's FileHandle and fail as it fails. */
export type DiskFile = Pick<
  FileHandle,
  'write' | 'read' | 'datasync' | 'sync' | 'truncate' | 'stat' | 'chmod' | 'close'
>;

/** The file system under a log: an argument, so that tests can make each call of it fail. */
export type AuditDisk = {
  open(path: string, flags: number, mode?: number): Promise<DiskFile>;
  stat(path: string): Promise<{ readonly size: number; readonly ino: number; readonly dev: number }>;
  mkdir(path: string, options: { recursive: true; mode: number }): Promise<unknown>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
};

export const nodeDisk: AuditDisk = { open, stat, mkdir, unlink, rename };

/** Writes every byte; a short write (a nearly full disk) goes on until the disk takes the rest or fails. */
export async function writeFully(file: DiskFile, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written);
    written += bytesWritten;
  }
}

/** Reads `length` bytes at `position`, fewer only where the file ends. */
export async function readFully(file: DiskFile, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
