import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

/**
 * Copies what control needs to run (decision 0004) to where its own user can read it: the clone may lie in a
 * home folder that only root can enter. One folder for each build; older ones are removed. About 150 MB, once.
 */
export function stageProgram(options: Program & { readonly app: string }): { node: string; dist: string } {
  const hash = createHash('sha256').update(process.version);
  for (const name of stagedPrograms) hash.update(readFileSync(join(options.dist, name)));
  hash.update(readFileSync(join(options.dist, pages, 'index.html')));
  const version = hash.digest('hex').slice(0, 16);
  const target = join(options.app, version);
  if (!existsSync(target)) {
    const next = `${target}.new`;
    rmSync(next, { recursive: true, force: true });
    try {
      copyProgram(options, next);
      renameSync(next, target);
    } catch (error) {
      rmSync(next, { recursive: true, force: true });
      throw error;
    }
  }
  for (const other of readdirSync(options.app)) {
    if (other !== version) rmSync(join(options.app, other), { recursive: true, force: true });
  }
  return { node: join(target, 'node'), dist: join(target, 'dist') };
}

/** Where this clone has its parts. */
type Program = { readonly dist: string; readonly modules: string; readonly node: string };

function copyProgram({ dist, modules, node }: Program, target: string): void {
  for (const folder of ['dist', 'node_modules']) mkdirSync(join(target, folder), { recursive: true });
  cpSync(node, join(target, 'node'), { dereference: true });
  for (const name of stagedPrograms) cpSync(join(dist, name), join(target, 'dist', name));
  cpSync(join(dist, pages), join(target, 'dist', pages), { recursive: true });
  writeFileSync(join(target, 'package.json'), '{"type":"module"}\n');
  for (const name of nativeModules) {
    const source = join(modules, name);
    if (!existsSync(source)) continue;
    const copy = { recursive: true, dereference: true, filter: isNeeded } as const;
    cpSync(source, join(target, 'node_modules', name), copy);
  }
  makeReadable(target);
}

const stagedPrograms = [
  'control.js',
  'runner.js',
  'namespace-worker.js',
  'screen-worker.js',
  'password-worker.js',
  'audit-search.js',
  'gateway.js',
] as const;

/** What people open in a browser. Its document names its parts by their hashes. */
const pages = 'web';

/** Dependencies with native parts, which a bundle cannot hold. */
const nativeModules = [
  'better-sqlite3',
  'koffi',
  `@koromix/koffi-${process.platform}-${process.arch}`,
  '@node-rs/argon2',
  `@node-rs/argon2-${process.platform}-${process.arch}-gnu`,
  '@cedar-policy/cedar-wasm',
] as const;

/** Programs and prebuilt parts; not the C sources beside them. */
function isNeeded(path: string): boolean {
  return statSync(path).isDirectory() ? basename(path) !== 'deps' : /\.(js|cjs|json|node|wasm)$/.test(path);
}

function makeReadable(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) makeReadable(path);
    else chmodSync(path, entry.name === 'node' || entry.name.endsWith('.node') ? 0o755 : 0o644);
  }
}
