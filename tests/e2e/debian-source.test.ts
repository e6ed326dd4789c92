import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { TestRepository } from '../../src/cli/test-repository.ts';
import { type CliEnd, startCli } from '../support/cli-process.ts';
import {
  fetchSourceLists,
  installCompiler,
  type SourceLists,
  unpackSource,
  whyNoSources,
} from '../support/debian-source.ts';
import { type Instance, startInstance } from '../support/instance.ts';

/** Real projects that nobody here wrote, built and tested in the sandbox. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-debian-'));
const home = join(folder, 'home');
let missing = whyNoSources();
let lists: SourceLists | null = null;
let instance: Instance | null = null;

before(async () => {
  if (missing !== null) return;
  try {
    await installCompiler();
    lists = await fetchSourceLists(folder);
  } catch (error) {
    missing = `apt-get cannot bring what is needed: ${(error as Error).message.split('\n')[0]}`;
    return;
  }
  instance = await startInstance({ home });
});

after(async () => {
  await instance?.remove();
  rmSync(folder, { recursive: true, force: true });
});

/** The package's source as a repository of one commit; null, with the test skipped, where it cannot be had. */
async function repositoryOf(t: TestContext, name: string): Promise<TestRepository | null> {
  let why = missing;
  try {
    if (lists !== null) {
      const repository = new TestRepository(await unpackSource(lists, name));
      repository.git('add', '--all', '--force');
      repository.git('commit', '-q', '-m', `${name} as released`);
      return repository;
    }
  } catch (error) {
    why = `the source package ${name} cannot be had: ${(error as Error).message.split('\n')[0]}`;
  }
  t.skip(why ?? 'no source packages');
  return null;
}

async function build({ path }: TestRepository, script: string): Promise<CliEnd> {
  const words = ['run', '--name', 'build', '--repo', path, '--memory', '1g', '--timeout', '10m'];
  return await startCli(home, [...words, '--', 'sh', '-c', script], { cwd: folder }).ended;
}

/** The names of the files that the newest run made. */
async function madeFiles(): Promise<string[]> {
  const { stdout, status } = await startCli(home, ['diff', 'build'], { cwd: folder }).ended;
  assert.equal(status, 0);
  return [...stdout.toString('latin1').matchAll(/^diff --git a\/(\S+) b\/\1\nnew file mode/gm)].map(
    ([, name]) => name!,
  );
}

test('zlib is configured, built and tested in the sandbox, and the diff lists what the build made', async (t) => {
  const repository = await repositoryOf(t, 'zlib');
  if (repository === null) return;
  const end = await build(repository, './configure && make -j2 && make test');
  const out = end.stdout.toString();
  assert.equal(end.status, 0, out.slice(-2000) + end.stderr.toString().slice(-2000));
  assert.match(out, /zlib shared test OK/);
  const made = await madeFiles();
  for (const name of ['libz.a', 'zlib.pc', 'minigzip', 'example.o'])
    assert(made.includes(name), `${name} is one of the ${made.length} files made`);
  assert.equal(repository.git('status', '--porcelain'), '', 'the checkout is as it was');
});

test('lua is built in the sandbox and runs', async (t) => {
  const repository = await repositoryOf(t, 'lua5.4');
  if (repository === null) return;
  const end = await build(repository, "make -s -j2 -C src posix && ./src/lua -e 'print(1+1, _VERSION)'");
  assert.equal(end.status, 0, end.stderr.toString().slice(-2000));
  assert.match(end.stdout.toString(), /^2\tLua 5\.4$/m);
  assert((await madeFiles()).includes('src/liblua.a'));
});
