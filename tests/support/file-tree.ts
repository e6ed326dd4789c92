import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Everything below a folder, a line each: name (bytes as latin1), kind, permissions and content. Times are left out. */
export function fileTree(folder: string): string[] {
  const lines: string[] = [];
  const walk = (relative: Buffer) => {
    const path = Buffer.concat([Buffer.from(`${folder}/`), relative]);
    for (const name of readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) {
      const below = relative.length === 0 ? name : Buffer.concat([relative, Buffer.from('/'), name]);
      const full = Buffer.concat([Buffer.from(`${folder}/`), below]);
      const found = lstatSync(full);
      lines.push(`${below.toString('latin1')} ${(found.mode & 0o7777).toString(8)} ${contentOf(full)}`);
      if (found.isDirectory()) walk(below);
    }
  };
  walk(Buffer.alloc(0));
  return lines;
}

function contentOf(path: Buffer): string {
  const found = lstatSync(path);
  if (found.isDirectory()) return 'folder';
  if (found.isSymbolicLink()) return `-> ${readlinkSync(path, { encoding: 'buffer' }).toString('latin1')}`;
  if (!found.isFile()) return 'special';
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
