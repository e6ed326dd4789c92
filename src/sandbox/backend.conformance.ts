import assert from 'node:assert/strict';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import { Fault } from '../contract/faults.ts';
import { defaultRunLimits } from '../model/limits.ts';
import type { Backend, Sandbox, SandboxEnd, SandboxRequest } from './backend.ts';

/** What a backend's own tests lend to the suite. */
export type Bench = {
  readonly backend: Backend;
  readonly uid: number | null;
  /** A folder of the host that `uid` may write to. */
  readonly workspace: string;
};

export function requestOf(
  bench: Bench,
  command: readonly string[],
  more: Partial<SandboxRequest> = {},
): SandboxRequest {
  return {
    uid: bench.uid,
    command,
    env: { PATH: '/usr/bin:/bin' },
    cwd: '/workspace',
    mounts: [{ source: bench.workspace, target: '/workspace', writable: true }],
    limits: { ...defaultRunLimits, timeoutSeconds: 60 },
    strict: false,
    diskFolders: [bench.workspace],
    egress: null,
    terminal: null,
    ...more,
  };
}

type Outcome = { readonly stdout: Buffer; readonly stderr: string; readonly end: SandboxEnd };

async function outcomeOf(sandbox: Sandbox): Promise<Outcome> {
  const [stdout, stderr, end] = await Promise.all([
    buffer(sandbox.stdout),
    text(sandbox.stderr),
    sandbox.ended,
  ]);
  return { stdout, stderr, end };
}

export async function runIn(
  bench: Bench,
  command: readonly string[],
  more: Partial<SandboxRequest> = {},
): Promise<Outcome> {
  return await outcomeOf(await bench.backend.create(requestOf(bench, command, more)));
}

const withFault = (code: Fault['code'], detail: RegExp) => (error: unknown) =>
  error instanceof Fault && error.code === code && detail.test(error.detail);

/** What every backend promises, whatever it makes sandboxes of (`backend.ts`). */
export function backendConformance(name: string, bench: () => Bench): void {
  test(`${name}: output arrives byte for byte, each stream for itself, with the status`, async () => {
    const { stdout, stderr, end } = await runIn(bench(), [
      'sh',
      '-c',
      "printf '\\377\\0a\\n'; echo err >&2; exit 7",
    ]);
    assert.deepEqual([...stdout], [255, 0, 97, 10]);
    assert.equal(stderr, 'err\n');
    assert.equal(end.status, 7);
    assert.equal(end.overrun, null);
  });

  test(`${name}: a program that is not there is 127, one that cannot be executed 126, a signal 128 + n`, async () => {
    assert.equal((await runIn(bench(), ['no-such-program'])).end.status, 127);
    assert.equal((await runIn(bench(), ['/etc/passwd'])).end.status, 126);
    assert.equal((await runIn(bench(), ['sh', '-c', 'kill -SEGV $$'])).end.status, 139);
  });

  test(`${name}: words and variables arrive as they were given, whatever is in them`, async () => {
    const odd = ['', ' ', "it's", '"', '$(id)', '`id`', '\\', '\n\n', '*', '-n', 'ü\u0001'];
    const { stdout } = await runIn(bench(), ['sh', '-c', 'printf "%s\\0" "$@" "$ODD"', 'sh', ...odd], {
      env: { PATH: '/usr/bin:/bin', ODD: odd.join('') },
    });
    assert.deepEqual(stdout.toString('utf8').split('\0').slice(0, -1), [...odd, odd.join('')]);
  });

  test(`${name}: a caller's variables do not reach what checks the walls`, async () => {
    const env = {
      PATH: '/nowhere',
      LD_PRELOAD: '/workspace/no.so',
      IFS: 'x',
      ENV: '/workspace/no.sh',
      PS4: '$(exit)',
      OPTIND: 'x',
    };
    const { stdout, end } = await runIn(bench(), ['/usr/bin/dash', '-c', 'echo $LD_PRELOAD'], { env });
    assert.equal(stdout.toString(), '/workspace/no.so\n');
    assert.equal(end.status, 0);
  });

  test(`${name}: 100,000 words are passed on`, async () => {
    const words = Array.from({ length: 100_000 }, (_, index) => String(index % 10));
    const { stdout } = await runIn(bench(), ['sh', '-c', 'echo $#', 'sh', ...words]);
    assert.equal(stdout.toString(), '100000\n');
  });

  test(`${name}: a folder to start in that does not exist is refused, and nothing ran`, async () => {
    const refused = bench().backend.create(
      requestOf(bench(), ['touch', '/workspace/ran'], { cwd: '/workspace/none' }),
    );
    await assert.rejects(refused, withFault('state.conflict', /\/workspace\/none/));
    assert.equal((await runIn(bench(), ['ls', '/workspace/ran'])).end.status, 2);
  });

  test(`${name}: stop asks first, then ends what does not listen`, async () => {
    const polite = await bench().backend.create(
      requestOf(bench(), ['sh', '-c', 'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done']),
    );
    polite.stdout.once('data', () => polite.stop(5_000));
    const heard = await outcomeOf(polite);
    assert.equal(heard.end.status, 3);
    const deaf = await bench().backend.create(
      requestOf(bench(), ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done']),
    );
    deaf.stdout.once('data', () => deaf.stop(100));
    assert.equal((await outcomeOf(deaf)).end.status, 137);
  });

  test(`${name}: what the command leaves behind ends with it`, async () => {
    const started = performance.now();
    const { end } = await runIn(bench(), [
      'sh',
      '-c',
      'setsid sh -c "trap \\"\\" TERM HUP; sleep 600" & exit 0',
    ]);
    assert.equal(end.status, 0);
    assert.ok(performance.now() - started < 30_000);
  });

  test(`${name}: ten at once do not mix`, async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, index) => runIn(bench(), ['sh', '-c', `echo ${index}; exit ${index}`])),
    );
    assert.deepEqual(
      outcomes.map(({ stdout, end }) => [stdout.toString(), end.status]),
      Array.from({ length: 10 }, (_, index) => [`${index}\n`, index]),
    );
  });
}
