import { closeSync, fdatasync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';

/** The file system under a recording: an argument, so that tests can make each call of it fail. */
export type RecordingDisk = {
  /** A new file of mode 0600, open for appending. */
  open(path: string): number;
  /** How many of the bytes were taken. */
  write(fd: number, bytes: Buffer): number;
  truncate(fd: number, length: number): void;
  datasync(fd: number): Promise<void>;
  close(fd: number): void;
  unlink(path: string): void;
};

export const nodeRecordingDisk: RecordingDisk = {
  open: (path) => openSync(path, 'ax', 0o600),
  write: writeSync,
  truncate: ftruncateSync,
  datasync: promisify(fdatasync),
  close: closeSync,
  unlink: unlinkSync,
};
