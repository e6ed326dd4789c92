import { constants } from 'node:fs';
import { dirname } from 'node:path';
import { type AuditDisk, writeFully } from './disk.ts';

const folderMode = 0o700;
export const fileMode = 0o600;

/** Creates a folder of the log where it is missing, durably. */
export async function makeFolder(disk: AuditDisk, folder: string): Promise<void> {
  const created = await disk.mkdir(folder, { recursive: true, mode: folderMode });
  if (created !== undefined) await syncFolder(disk, dirname(folder));
}

/** Makes what was created, renamed or removed in a folder durable. */
export async function syncFolder(disk: AuditDisk, folder: string): Promise<void> {
  const handle = await disk.open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await quietly(handle.close());
  }
}

/** Puts a small file in the place of what has its name; durable, and never half of it, once this resolves. */
export async function replaceFile(disk: AuditDisk, path: string, content: Uint8Array): Promise<void> {
  const flags = constants.O_CREAT | constants.O_TRUNC | constants.O_WRONLY | constants.O_NOFOLLOW;
  const handle = await disk.open(`${path}.new`, flags, fileMode);
  try {
    await writeFully(handle, content);
    await handle.datasync();
  } finally {
    await quietly(handle.close());
  }
  await disk.rename(`${path}.new`, path);
  await syncFolder(disk, dirname(path));
}

/** A block written beside the log, since a line cannot be taken back; throws where the disk does not take it. */
export async function tryDisk(disk: AuditDisk, path: string, bytes: number): Promise<void> {
  const flags = constants.O_CREAT | constants.O_TRUNC | constants.O_WRONLY | constants.O_NOFOLLOW;
  const handle = await disk.open(path, flags, fileMode);
  try {
    await writeFully(handle, Buffer.alloc(bytes));
    await handle.datasync();
  } finally {
    await quietly(handle.close());
  }
  await disk.unlink(path);
}

/** For steps whose failure changes nothing: what follows does not rely on them. */
export async function quietly(step: Promise<unknown>): Promise<void> {
  await step.catch(() => undefined);
}
