import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';

/**
 * Bundles each program of src/main into dist/ (decision 0004). Programs that live long are one file each, so
 * that a later build cannot take a part from under a running one; the command line's rarely used parts are
 * split off, because its start-up time is waited for.
 */

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const staging = join(root, `dist.${process.pid}`);
const started = Date.now();
/** Covers the kernel's coarse file times: what changes while the build runs must look newer than the build. */
const fileTimeSlackMs = 20;

const programs = [
  'src/main/up.ts',
  'src/main/control.ts',
  'src/main/runner.ts',
  'src/main/gateway.ts',
  'src/main/doctor.ts',
  'src/sandbox/local/namespace-worker.ts',
  'src/runner/terminals/screen-worker.ts',
  'src/identity/password-worker.ts',
  'src/audit/verify-worker.ts',
  'src/main/audit-search.ts',
];
const commandLine = 'src/main/cli.ts';

const shared: BuildOptions = {
  absWorkingDir: root,
  outdir: staging,
  entryNames: '[name]',
  chunkNames: 'cli-[name]-[hash]',
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  legalComments: 'external',
  // These find their prebuilt native part beside their own files.
  external: [
    'better-sqlite3',
    'koffi',
    '@node-rs/argon2',
    '@cedar-policy/cedar-wasm',
    '@napi-rs/keyring',
    'ssh2',
  ],
  // Bundled CommonJS packages call require() for Node's own modules.
  banner: {
    js: "import { createRequire as $createRequire } from 'node:module';\nconst require = $createRequire(import.meta.url);",
  },
  logLevel: 'warning',
};

/** What people open in a browser: its parts have names that change with them, so that browsers may keep them. */
async function buildPages(): Promise<void> {
  const folder = join(staging, 'web');
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['web/app.ts', 'web/style.css', 'web/seal.svg'],
    outdir: join(folder, 'assets'),
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    splitting: true,
    loader: { '.svg': 'copy' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
  });
  let document = readFileSync(join(root, 'web/index.html'), 'utf8');
  for (const made of Object.keys(metafile.outputs)) {
    const name = basename(made);
    const entry = name.replace(/-[A-Z0-9]{8}(?=\.)/, '');
    document = document.replaceAll(`/assets/${entry}`, `/assets/${name}`);
  }
  writeFileSync(join(folder, 'index.html'), document);
}

function present(entries: readonly string[]): string[] {
  return entries.filter((entry) => {
    if (existsSync(join(root, entry))) return true;
    process.stderr.write(`build: ${entry} does not exist yet; skipped\n`);
    return false;
  });
}

function commit(): string | undefined {
  try {
    const args = ['rev-parse', '--verify', 'HEAD'];
    return execFileSync('git', args, {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined; // not a clone, or nothing is committed yet
  }
}

function describeBuild(): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return `${JSON.stringify({ version, commit: commit() })}\n`;
}

/** Moves each new file over its predecessor and removes what no longer belongs. */
function moveOver(from: string, to: string, kept: readonly string[] = []): void {
  mkdirSync(to, { recursive: true });
  const entries = readdirSync(from, { withFileTypes: true });
  for (const entry of entries) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) moveOver(source, target);
    else renameSync(source, target);
  }
  const current = new Set([...entries.map(({ name }) => name), ...kept]);
  for (const name of readdirSync(to)) if (!current.has(name)) rmSync(join(to, name), { recursive: true });
}

/** The description comes last: it says that all the others are there. */
function publish(): void {
  const description = join(dist, 'build.json');
  moveOver(staging, dist, [basename(description)]);
  const asOf = new Date(started - fileTimeSlackMs);
  writeFileSync(`${description}.new`, describeBuild());
  utimesSync(`${description}.new`, asOf, asOf);
  renameSync(`${description}.new`, description);
}

rmSync(staging, { recursive: true, force: true });
try {
  await build({ ...shared, entryPoints: present(programs) });
  await build({ ...shared, entryPoints: present([commandLine]), splitting: true });
  await buildPages();
  mkdirSync(staging, { recursive: true });
  writeFileSync(join(staging, 'package.json'), '{ "type": "module" }\n');
  publish();
} catch (error) {
  // esbuild has printed what is wrong with the sources; anything else is a fault of this script.
  if (!(error instanceof Error && 'errors' in error)) throw error;
  process.exitCode = 1;
} finally {
  rmSync(staging, { recursive: true, force: true });
}
