import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** What uploads, sessions and runs have in a data folder, as `kind/name`. */
export function storedFiles(home: string): string[] {
  return ['uploads', 'sessions', 'runs'].flatMap((kind) => {
    const folder = join(home, 'runner', kind);
    return existsSync(folder) ? readdirSync(folder).map((name) => `${kind}/${name}`) : [];
  });
}
