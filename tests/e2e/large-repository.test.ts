import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TestRepository } from '../../src/cli/test-repository.ts';
import { startCli } from '../support/cli-process.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { watchMemory } from '../support/resident-memory.ts';
import { storedFiles } from '../support/stored-files.ts';

const skip =
  process.env.SEALWRIGHT_LARGE_TESTS === '1' ? false : 'set SEALWRIGHT_LARGE_TESTS=1 (takes 10 GB of disk)';
const mib = 1024 * 1024;

describe('a repository of more than 2 GB', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-large-'));
  const home = join(folder, 'home');
  const temporary = join(folder, 'tmp');
  let instance: Instance;
  let repository: TestRepository;

  before(async () => {
    mkdirSync(temporary);
    repository = new TestRepository(join(folder, 'project'));
    // Above git's bigFileThreshold and without compression, so that making it takes seconds.
    repository.git('config', 'core.compression', '0');
    for (const name of ['a', 'b', 'c', 'd'])
      execFileSync('/bin/sh', ['-c', 'head -c 560M /dev/urandom > "$0"', join(repository.path, name)]);
    repository.commit('large');
    instance = await startInstance({ home });
  });

  after(async () => {
    await instance.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  it('goes in and runs, held in no process’s memory, and only the workspace is left of it', async (t) => {
    const { control, runner } = instance.pids();
    const before = storedFiles(home);
    const startedAt = performance.now();
    const words = [
      'run',
      '--session',
      'large',
      '--repo',
      '.',
      '--',
      'sh',
      '-c',
      'cat a b c d | wc -c; echo x > new',
    ];
    const cli = startCli(home, words, { cwd: repository.path, environment: { TMPDIR: temporary } });
    const watch = watchMemory([control, runner, cli.child.pid!]);
    const { status, stdout, stderr } = await cli.ended;
    const growth = watch.growth().map((bytes) => Math.round(bytes / mib));
    t.diagnostic(
      `${Math.round(performance.now() - startedAt)} ms; control, runner and CLI grew by ${growth.join(', ')} MiB`,
    );
    assert.equal(status, 0, stderr.toString());
    assert.equal(stdout.toString(), `${4 * 560 * mib}\n`);
    for (const grown of growth) assert(grown < 150, `grew by ${grown} MiB`);
    assert.deepEqual(readdirSync(temporary), []);
    const left = storedFiles(home).filter((name) => !before.includes(name));
    assert.deepEqual(
      left.map((name) => name.split('/')[0]).sort(),
      ['runs', 'sessions'],
      'the upload is gone',
    );
  });

  it('is refused where the disk limit is smaller than it, and leaves nothing', async () => {
    const before = storedFiles(home);
    const words = ['run', '--disk', '1g', '--repo', '.', '--', 'true'];
    const end = await startCli(home, words, { cwd: repository.path, environment: { TMPDIR: temporary } })
      .ended;
    assert.equal(end.status, 125);
    assert.match(end.stderr.toString(), /does not fit into the run's disk limit/);
    const left = storedFiles(home).filter((name) => !before.includes(name));
    assert.deepEqual(
      left.filter((name) => name.startsWith('sessions/')),
      [],
    );
  });
});
