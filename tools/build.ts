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
  external: ['better-sqlite3', 'koffi', '@node-rs/argon2', '@cedar-policy/cedar-wasm', '@napi-rs/keyring'],
  // Bundled CommonJS packages call require() for Node's own modules.
  banner: {
    js: "import { createRequire as $createRequire } from 'node:module';\nconst require = $createRequire(import.meta.url);",
  },
  logLevel: 'warning',
};

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

/** Moves each new file over its predecessor, the description last, and removes what no longer belongs. */
function publish(): void {
  mkdirSync(dist, { recursive: true });
  const files = readdirSync(staging);
  for (const file of files) renameSync(join(staging, file), join(dist, file));
  const description = join(dist, 'build.json');
  const asOf = new Date(started - fileTimeSlackMs);
  writeFileSync(`${description}.new`, describeBuild());
  utimesSync(`${description}.new`, asOf, asOf);
  renameSync(`${description}.new`, description);
  const current = new Set([...files, basename(description)]);
  for (const file of readdirSync(dist)) if (!current.has(file)) rmSync(join(dist, file), { recursive: true });
}

rmSync(staging, { recursive: true, force: true });
try {
  await build({ ...shared, entryPoints: present(programs) });
  await build({ ...shared, entryPoints: present([commandLine]), splitting: true });
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
