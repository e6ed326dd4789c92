import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ApiError } from '../client/api-error.ts';
import { OutputClosed } from './environment.ts';
import { buildProgram, runProgram } from './program.ts';
import { ended, TestServer, testContext, wrote } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';
import { gitIn, TestRepository } from './test-repository.ts';

let environment: TestEnvironment;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment({ OWN: 'mine' });
  server = new TestServer();
});
afterEach(() => environment.dispose());

async function sealwright(...words: string[]) {
  environment.stdout.chunks.length = 0;
  environment.stderr.chunks.length = 0;
  const context = testContext(environment, server);
  const status = await runProgram(
    buildProgram(context, () => {}),
    words,
    context,
  );
  return { status, out: environment.stdout.text, err: environment.stderr.text };
}

const created = () => JSON.parse(server.calls.findLast((call) => call.startsWith('runs.create'))!.slice(12));

describe('run', () => {
  it('writes stdout to stdout and stderr to stderr, byte for byte, and ends as the command did', async () => {
    const bytes = Buffer.from([0, 255, 27, 10, 13, 128]);
    server.logs = [
      [wrote('stdout', bytes, 1), wrote('stderr', 'err\n', 2), wrote('stdout', 'x', 3), ended(7)],
    ];
    const { status } = await sealwright('run', '--', 'sh', '-c', 'exit 7');
    assert.equal(status, 7);
    assert.deepEqual(environment.stdout.bytes, Buffer.concat([bytes, Buffer.from('x')]));
    assert.equal(environment.stderr.text, 'err\n');
    assert.deepEqual(created().command, ['sh', '-c', 'exit 7']);
  });

  it('takes the words after the command as they are, with or without --', async () => {
    await sealwright('run', 'git', 'log', '--oneline', '-v', '--', 'x');
    assert.deepEqual(created().command, ['git', 'log', '--oneline', '-v', '--', 'x']);
    await sealwright('run', '--name', 'n', '--', '--odd', '--help');
    assert.deepEqual(created().command, ['--odd', '--help']);
  });

  it('hands every setting over', async () => {
    await sealwright(
      ...[
        'run',
        '--env',
        'A=b=c',
        '-e',
        'OWN',
        '--env',
        'MISSING',
        '--env',
        'E=',
        '--cwd',
        'sub',
        '--cpus',
        '0.5',
      ],
      ...[
        '--memory',
        '1g',
        '--pids',
        '64',
        '--disk',
        '2g',
        '--timeout',
        '10m',
        '--priority',
        '-5',
        '--name',
        'n',
      ],
      ...['--strict', '--no-diff', '--', 'true'],
    );
    const { session, ...request } = created();
    assert.match(session, /^ses_/);
    assert.deepEqual(request, {
      command: ['true'],
      name: 'n',
      env: { A: 'b=c', OWN: 'mine', E: '' },
      cwd: 'sub',
      limits: { cpus: 0.5, memoryBytes: 2 ** 30, pids: 64, diskBytes: 2 ** 31 },
      timeoutSeconds: 600,
      priority: -5,
      strict: true,
      diff: false,
    });
  });

  it('exits with 124, 125, 126, 127, 130 and 128 + n as docker does, and says why', async () => {
    const ends: [Parameters<typeof ended>, number, RegExp][] = [
      [
        [null, { phase: 'timed-out', cause: null, reason: 'after 5 s' }],
        124,
        /ended as timed-out: after 5 s/,
      ],
      [
        [null, { cause: 'provisioning', reason: 'no bwrap' }],
        125,
        /ended as failed \(provisioning\): no bwrap/,
      ],
      [[126], 126, /^$/],
      [[127], 127, /^$/],
      [[137, { signal: 'SIGKILL', cause: 'limit-memory', reason: '' }], 137, /limit-memory/],
      [[null, { phase: 'cancelled', cause: null }], 130, /cancelled/],
      [[0], 0, /^$/],
    ];
    for (const [end, status, said] of ends) {
      server.logs = [[ended(...end)]];
      const result = await sealwright('run', '--', 'x');
      assert.equal(result.status, status);
      assert.match(result.err, said);
    }
  });

  it('ends with 125 for its own failures, usage included, and makes nothing', async () => {
    for (const words of [
      [],
      ['--memory', 'lots', '--', 'x'],
      ['--dirty', '--', 'x'],
      ['--nonsense', '--', 'x'],
      ['--env', '=x', '--', 'x'],
    ]) {
      const { status, err } = await sealwright('run', ...words);
      assert.equal(status, 125, words.join(' '));
      assert.match(err, /^sealwright: /);
    }
    assert.deepEqual(server.calls, []);
  });

  it('closes the session that it made when the server refuses the run', async () => {
    server.refuseRuns = new ApiError({
      status: 400,
      code: 'request.invalid',
      detail: 'The request does not fit.',
      errors: [{ path: 'limits.memoryBytes', message: 'is too\nsmall' }],
    });
    const { status, err } = await sealwright('run', '--memory', '0', '--', 'x');
    assert.equal(status, 125);
    assert.match(err, /The request does not fit\.\n {2}limits\.memoryBytes: is too\\nsmall\n/);
    assert.match(server.calls.at(-1)!, /^sessions\.close ses_/);
  });

  it('detaches: prints the id alone and leaves', async () => {
    const { status, out, err } = await sealwright('run', '-d', '--', 'x');
    assert.equal(status, 0);
    assert.match(out, /^run_[0-9a-z]{26}\n$/);
    assert.equal(err, '');
    assert.deepEqual(server.logOptions, []);
  });

  it('writes events as lines of JSON, other bytes as base64', async () => {
    server.logs = [
      [
        { event: 'step', step: 'sandbox', at: 1 },
        wrote('stdout', 'a\nb', 1),
        wrote('stderr', Buffer.from([255]), 2),
        { event: 'dropped', droppedBytes: 9, next: 3 },
        ended(3),
      ],
    ];
    const { status, out, err } = await sealwright('run', '--json', '--', 'x');
    const events = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(status, 3);
    assert.equal(err, '');
    assert.match(events[0].run.id, /^run_/);
    assert.deepEqual(events.slice(1), [
      { event: 'step', step: 'sandbox' },
      { event: 'stdout', text: 'a\nb' },
      { event: 'stderr', base64: '/w==' },
      { event: 'dropped', droppedBytes: 9 },
      { event: 'end', phase: 'failed', cause: 'exit', reason: null, exitCode: 3, signal: null },
    ]);
  });

  it('shows steps on a terminal only, and takes them away before output', async () => {
    server.logs = [[{ event: 'step', step: 'sandbox', at: 1 }, wrote('stdout', 'x', 1), ended(0)]];
    assert.equal((await sealwright('run', '--', 'x')).err, '');
    assert.match((await sealwright('run', '-v', '--', 'x')).err, /^sealwright: making the sandbox …\n$/);
    environment.stderr.isTerminal = true;
    const { err } = await sealwright('run', '--', 'x');
    assert(err.endsWith('\r\x1b[2K'), JSON.stringify(err));
  });

  it('stops the run on Ctrl-C and goes on to its end', async () => {
    const stopped = Promise.withResolvers<void>();
    server.onStop = () => stopped.resolve();
    const { api } = server;
    const slow = {
      ...api,
      runs: {
        ...api.runs,
        async *logs() {
          yield wrote('stdout', 'before', 1);
          environment.interrupt();
          await stopped.promise;
          yield wrote('stdout', ' after', 2);
          yield ended(143, { phase: 'cancelled', cause: null, signal: 'SIGTERM' });
        },
      },
    };
    const context = { ...testContext(environment, server), connect: async () => slow };
    assert.equal(
      await runProgram(
        buildProgram(context, () => {}),
        ['run', '--', 'x'],
        context,
      ),
      143,
    );
    assert.equal(environment.stdout.text, 'before after');
    assert.match(environment.stderr.text, /stopping the run/);
  });

  it('stops the run and ends without a word when the reader of its output leaves', async () => {
    server.logs = [[wrote('stdout', 'x', 1), ended(0)]];
    environment.stdout.failure = new OutputClosed();
    const { status, err } = await sealwright('run', '--', 'yes');
    assert.equal(status, 141);
    assert.equal(err, '');
    assert.match(server.calls.at(-1)!, /^runs\.stop/);
  });
});

describe('run with sessions and repositories', () => {
  const repository = () => {
    const source = new TestRepository(join(environment.folder, 'source'));
    source.write('a', 'x');
    source.commit();
    return source;
  };

  it('makes a session of a new name and goes on in an open one of that name', async () => {
    await sealwright('run', '--session', 'work', '--', 'x');
    assert.equal(server.calls[0], 'sessions.create {"name":"work"}');
    await sealwright('run', '--session', 'work', '--', 'y');
    assert.equal(server.sessions.length, 1);
    await sealwright('run', '--session', server.sessions[0]!.id, '--', 'y');
    server.sessions[0] = { ...server.sessions[0]!, phase: 'closed' };
    await sealwright('run', '--session', 'work', '--', 'z');
    assert.equal(server.sessions.length, 2);
    assert.equal((await sealwright('run', '--session', 'ses_nothere', '--', 'z')).status, 125);
  });

  it('uploads a bundle and makes the session of it', async () => {
    const source = repository();
    const { status, err } = await sealwright('run', '--repo', 'source', '--', 'x');
    assert.equal(status, 0, err);
    const bundle = join(environment.folder, 'bundle');
    writeFileSync(bundle, server.uploads[0]!);
    assert.match(gitIn(source.path, ['bundle', 'list-heads', bundle]).toString(), / HEAD\n/);
    assert.match(server.calls[1]!, /^sessions\.create {"repo":{"upload":"upl_/);
    assert.deepEqual(readdirSync(environment.folder).sort(), ['bundle', 'source']);
  });

  it('makes a session of a URL, which is cloned there, and uploads nothing', async () => {
    const asked = ['run', '--repo', 'https://a.example/b', '--ref', 'v1', '--egress', 'web', '--', 'x'];
    const { status, err } = await sealwright(...asked);
    assert.equal(status, 0, err);
    assert.equal(server.calls[0], 'sessions.create {"repo":{"url":"https://a.example/b","ref":"v1"}}');
    assert.deepEqual(server.uploads, []);
  });

  it('refuses what goes with a URL alone, or with a path alone', async () => {
    repository();
    assert.match((await sealwright('run', '--repo', 'source', '--ref', 'v1', '--', 'x')).err, /--ref needs/);
    assert.match((await sealwright('run', '--ref', 'v1', '--', 'x')).err, /--ref needs/);
    assert.match(
      (await sealwright('run', '--repo', 'https://a.example/b', '--dirty', '--', 'x')).err,
      /--dirty needs/,
    );
    assert.match(
      (await sealwright('apply', 'latest', '--repo', 'https://a.example/b')).err,
      /on another machine/,
    );
    assert.deepEqual(server.calls, []);
  });

  it('refuses a repository for a session that has a workspace, before it uploads', async () => {
    repository();
    server.session('work', { repo: true });
    const { status, err } = await sealwright('run', '--session', 'work', '--repo', 'source', '--', 'x');
    assert.equal(status, 125);
    assert.match(err, /already has a workspace made from a repository/);
    assert.deepEqual(server.uploads, []);
  });

  it('says what is wrong with a repository and what to do, and makes nothing', async () => {
    mkdirSync(join(environment.folder, 'plain'));
    const { status, err } = await sealwright('run', '--repo', 'plain', '--', 'x');
    assert.equal(status, 125);
    assert.match(err, /^sealwright: .* is not a git repository\.\n {2}Make it one/);
    assert.match((await sealwright('run', '--repo', 'http://a.example/x', '--', 'x')).err, /use https/);
    assert.deepEqual(server.calls, []);
  });

  it('shows git’s own words when the bundle breaks off on its way', async () => {
    const source = repository();
    const blob = source.git('rev-parse', 'HEAD:a');
    execFileSync('rm', ['-f', join(source.path, '.git/objects', blob.slice(0, 2), blob.slice(2))]);
    const { status, err } = await sealwright('run', '--repo', 'source', '--', 'x');
    assert.equal(status, 125);
    assert.match(err, /git failed/);
    assert.equal(
      server.calls.some((call) => call.startsWith('sessions')),
      false,
    );
  });
});

describe('words that name runs and sessions', () => {
  it('are ids, beginnings of one, names (the newest), and latest', async () => {
    const old = server.run('same');
    const other = server.run('other');
    const young = server.run('same');
    const stopped = async (word: string) => (await sealwright('stop', word)).out.trim();
    assert.equal(await stopped(old.id), old.id);
    assert.equal(await stopped('same'), young.id);
    assert.equal(await stopped('latest'), young.id);
    assert.equal(await stopped(other.id.slice(0, 24)), other.id);
    assert.equal(await stopped(other.id.slice(4, 24)), other.id);
  });

  it('are refused when nothing or more than one answers, naming the candidates', async () => {
    const a = server.run('a\x1b[2J');
    const b = server.run(null);
    const { status, err } = await sealwright('stop', 'run_');
    assert.equal(status, 1);
    assert(err.includes(a.id) && err.includes(b.id) && err.includes('a\\e[2J'));
    assert.match((await sealwright('stop', 'nothing')).err, /No run answers to "nothing"/);
    server.run(a.id.slice(0, 20));
    assert.match((await sealwright('stop', a.id.slice(0, 20))).err, /more than one run/);
    assert.deepEqual(server.calls, []);
  });

  it('never stand for a closed session', async () => {
    server.session('gone', { phase: 'closed' });
    assert.match((await sealwright('sessions', 'rm', 'gone')).err, /No session answers/);
  });
});

describe('lists', () => {
  it('page on to what was asked for', async () => {
    for (let index = 0; index < 420; index += 1) server.run(`r${index}`);
    const count = async (...flags: string[]) =>
      JSON.parse((await sealwright('runs', '--json', ...flags)).out).length;
    assert.equal(await count(), 50);
    assert.equal(await count('--limit', '205'), 205);
    assert.equal(await count('--all'), 420);
    assert.equal((await sealwright('runs', '--limit', '0')).status, 2);
    assert.equal((await sealwright('runs', '--phase', 'nonsense')).status, 2);
  });

  it('escape hostile names in tables', async () => {
    server.run('\x1b]0;x\x07', { command: ['a b', '\x1b[2J'] });
    const { out } = await sealwright('runs');
    assert.match(out, /\\e\]0;x\\x07/);
    assert.match(out, /"a b" \\e\[2J/);
    assert.match((await sealwright('audit', 'ls')).out, /\\e\[2J/);
    assert.match((await sealwright('sessions', '-o', 'yaml')).out, /^\[\]\n$/);
  });
});

describe('other commands', () => {
  it('logs prints what is there, follows when asked, and picks a stream', async () => {
    server.run('r');
    server.logs = [[wrote('stdout', 'o', 1), wrote('stderr', 'e', 2)]];
    const { out, err, status } = await sealwright('logs', 'r', '--stream', 'stdout');
    assert.deepEqual([out, err, status], ['o', 'e', 0]);
    assert.deepEqual(server.logOptions[0], { follow: false, stream: 'stdout' });
    server.logs = [[ended(5)]];
    assert.equal((await sealwright('logs', 'r', '-f')).status, 0);
    assert.equal(server.logOptions[1]?.follow, true);
    assert.equal((await sealwright('logs', 'r', '--stream', 'x')).status, 2);
  });

  it('diff writes the patch byte for byte to a pipe and escaped to a terminal', async () => {
    server.run('r');
    server.patch = Buffer.from([0x2b, 0x1b, 0xff, 0x0a]);
    await sealwright('diff', 'r');
    assert.deepEqual(environment.stdout.bytes, server.patch);
    environment.stdout.isTerminal = true;
    assert.equal((await sealwright('diff', 'r')).out, '+\\e\ufffd\n');
  });

  it('resume makes a child run and ends as it did', async () => {
    const parent = server.run('r');
    server.logs = [[ended(4)]];
    assert.equal((await sealwright('resume', 'r', '--', 'make', '--', '-k')).status, 4);
    assert.equal(server.calls[0], `runs.resume ${parent.id} {"command":["make","--","-k"]}`);
    await sealwright('resume', parent.id, '-d');
    assert.match(server.calls[1]!, /\{\}$/);
  });

  it('tokens create asks for exactly the scopes and prints the secret once', async () => {
    const { out, err } = await sealwright(
      'tokens',
      'create',
      '--name',
      'ci',
      '--scope',
      'run:read',
      '--role',
      'agent',
      '--expires',
      '30d',
    );
    assert.equal(out, 'sw_secret\n');
    assert.doesNotMatch(err, /sw_secret/);
    assert.equal(
      server.calls[0],
      'tokens.create {"name":"ci","scopes":["run:read","execute:task"],"expiresInSeconds":2592000}',
    );
    assert.equal((await sealwright('tokens', 'create', '--name', 'x')).status, 2);
    assert.equal((await sealwright('tokens', 'create', '--name', 'x', '--role', 'constructor')).status, 2);
    assert.equal((await sealwright('tokens', 'create', '--name', 'x', '--scope', '*')).status, 2);
  });

  it('tokens uses the socket of this machine where no token works, and nowhere else', async () => {
    const used: (boolean | undefined)[] = [];
    const attempt = async (target: { token: boolean; isHere: boolean }, ...flags: string[]) => {
      used.length = 0;
      const refused = new ApiError({ status: 401, code: 'auth.invalid', detail: 'no' });
      const base = testContext(environment, server);
      const context = {
        ...base,
        describeTarget: async () => ({ url: '', profile: null, token: target.token }),
        isHere: async () => target.isHere,
        connect: async ({ local }: { local?: boolean } = {}) => {
          used.push(local);
          return local === true
            ? server.api
            : { ...server.api, tokens: { ...server.api.tokens, list: async () => Promise.reject(refused) } };
        },
      };
      return await runProgram(
        buildProgram(context, () => {}),
        ['tokens', 'ls', ...flags],
        context,
      );
    };
    assert.equal(await attempt({ token: false, isHere: true }), 0);
    assert.deepEqual(used, [true]);
    assert.equal(await attempt({ token: true, isHere: true }), 0);
    assert.deepEqual(used, [undefined, true]);
    assert.equal(await attempt({ token: true, isHere: false }), 1);
    assert.deepEqual(used, [undefined]);
    assert.equal(await attempt({ token: true, isHere: false }, '--local'), 0);
  });

  it('audit witnesses show how old each is, and fail where one contradicts the log', async () => {
    const { out, status } = await sealwright('audit', 'witnesses');
    assert.match(out, /^WITNESS +REQUIRED +STREAM +STATE +EVENTS +AGE SECONDS/);
    assert.match(out, /vault +yes +control +conflict +41 +61 +.*two histories/);
    assert(!out.includes('\x1b'));
    assert.equal(status, 1);
    const [witness] = JSON.parse((await sealwright('audit', 'witnesses', '--json')).out);
    assert.equal(witness.streams[0].state, 'conflict');
  });

  it('audit sinks show how far behind each is, and dead letters are sent again by name', async () => {
    const { out } = await sealwright('audit', 'sinks');
    assert.match(out, /^SINK +STATE +STREAM +SENT +LAG/);
    assert.match(out, /loki +retrying +control +5 +7 +3 +1 .*it answered 503/);
    const [sink] = JSON.parse((await sealwright('audit', 'sinks', '--json')).out);
    assert.equal(sink.streams[0].lagEvents, 7);
    const again = await sealwright('audit', 'sinks', 'redeliver', 'loki');
    assert.equal(again.status, 1, 'some remain');
    assert.match(again.out, /^2 delivered, 1 remain; it ended early: it answered .*\\e\[2J/);
    assert(server.calls.includes('auditSinks.redeliver loki'));
  });

  it('audit verify works offline and ends with 2 for what cannot be read', async () => {
    assert.equal((await sealwright('audit', 'verify')).status, 2);
    const { status, out } = await sealwright('audit', 'verify', '--json', 'nowhere.jsonl');
    assert.equal(status, 2);
    assert.equal(JSON.parse(out).status, 'unreadable');
    writeFileSync(join(environment.folder, 'bad.jsonl'), 'junk\n');
    assert.equal((await sealwright('audit', 'verify', 'bad.jsonl')).status, 1);
    assert.deepEqual(server.calls, []);
  });

  it('status says which server, version and readiness', async () => {
    const { status, out } = await sealwright('status', '--json');
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(out), {
      server: 'http://127.0.0.1:7717',
      profile: null,
      version: '9.9.9',
      client: '1.2.3',
      ready: true,
      token: 'accepted',
    });
  });

  it('help, version and mistakes end as a person expects', async () => {
    const help = await sealwright('--help');
    assert.equal(help.status, 0);
    for (const word of [
      'run',
      'runs',
      'sessions',
      'logs',
      'diff',
      'apply',
      'stop',
      'resume',
      'tokens',
      'keys',
      'login',
      'logout',
      'whoami',
      'audit',
      'status',
      'up',
      'doctor',
      'completion',
    ]) {
      assert.match(help.out, new RegExp(`^  ${word}\\b`, 'm'));
    }
    assert.equal((await sealwright('--version')).out, '1.2.3\n');
    const typo = await sealwright('rnu');
    assert.equal(typo.status, 2);
    assert.match(typo.err, /^sealwright: unknown command 'rnu'\n\(Did you mean run\?\)/);
    assert.equal((await sealwright()).status, 2);
    assert.equal((await sealwright('logs')).status, 2);
    assert.doesNotMatch((await sealwright('\x1b[2J')).err, /\x1b/);
  });

  it('keys are listed and rotated, and the compromised ones end at once', async () => {
    assert.match((await sealwright('keys')).out, new RegExp(`${server.key.id}\\s+EdDSA`));
    assert.equal((await sealwright('keys', 'rotate')).out, `${server.key.id}\n`);
    await sealwright('keys', 'rotate', '--compromised');
    assert.deepEqual(
      server.calls.filter((call) => call.startsWith('keys.')),
      ['keys.rotate false', 'keys.rotate true'],
    );
  });

  it('what needs a fresh proof says how to give it', async () => {
    const detail = 'Prove again who you are.';
    const stale = new ApiError({ status: 401, code: 'auth.step-up', detail });
    const api = { ...server.api, keys: { ...server.api.keys, rotate: () => Promise.reject(stale) } };
    const context = { ...testContext(environment, server), connect: async () => api };
    environment.stderr.chunks.length = 0;
    const program = buildProgram(context, () => {});
    assert.equal(await runProgram(program, ['keys', 'rotate'], context), 1);
    assert.match(environment.stderr.text, /Prove again who you are\.\n {2}Run 'sealwright login' again/);
  });

  it('a bug is said to be one', async () => {
    server.run('r');
    const broken = {
      ...server.api,
      runs: { ...server.api.runs, stop: () => Promise.reject(new TypeError('oops')) },
    };
    const context = { ...testContext(environment, server), connect: async () => broken };
    assert.equal(
      await runProgram(
        buildProgram(context, () => {}),
        ['stop', 'r'],
        context,
      ),
      1,
    );
    assert.match(environment.stderr.text, /This is a bug in Sealwright/);
  });
});

describe('completion', () => {
  const shells: Record<string, string[]> = { bash: ['-n'], zsh: ['-n'], fish: ['-n'] };
  for (const [shell, check] of Object.entries(shells)) {
    it(`is a script that ${shell} can read`, { skip: has(shell) ? false : `no ${shell} here` }, async () => {
      const { out, status } = await sealwright('completion', shell);
      assert.equal(status, 0);
      const file = join(environment.folder, `completion.${shell}`);
      writeFileSync(file, out);
      execFileSync(shell, [...check, file]);
    });
  }

  it('offers subcommands, then their flags', { skip: has('bash') ? false : 'no bash here' }, async () => {
    const { out } = await sealwright('completion', 'bash');
    const complete = (...words: string[]) => {
      const list = words.map((word) => `'${word}'`).join(' ');
      const script = `${out}\nCOMP_WORDS=(sealwright ${list}); COMP_CWORD=${words.length}; _sealwright; printf '%s\\n' "\${COMPREPLY[@]}"`;
      return execFileSync('bash', ['-c', script]).toString().trimEnd().split('\n');
    };
    assert.deepEqual(complete('ru'), ['run', 'runs']);
    assert.deepEqual(complete('tokens', 'c'), ['create']);
    assert.deepEqual(complete('run', '--mem'), ['--memory']);
    assert.deepEqual(complete('tokens', 'create', '--ro'), ['--role']);
  });

  it('refuses other shells', async () => {
    assert.equal((await sealwright('completion', 'toString')).status, 2);
  });
});

function has(program: string): boolean {
  try {
    execFileSync(program, ['-c', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('agents', () => {
  it('are made, changed, stopped and removed by their ids', async () => {
    const { out } = await sealwright(
      ...['agents', 'create', 'agent:a', '--role', 'worker', '--scope', 'run:read', '--owner', 'user:ann'],
    );
    assert.equal(out, 'agent:a\n');
    await sealwright('agents', 'update', 'agent:a', '--no-scopes', '--display-name', 'A');
    await sealwright('agents', 'update', 'agent:a', '--egress', 'npm', '--egress', 'web');
    await sealwright('agents', 'update', 'agent:a', '--egress', 'any');
    await sealwright('agents', 'update', 'agent:a', '--egress', 'none');
    await sealwright('agents', 'disable', 'agent:a', 'service:b');
    await sealwright('agents', 'enable', 'agent:a');
    await sealwright('agents', 'rm', 'agent:a');
    assert.deepEqual(server.calls, [
      'agents.create {"kind":"agent","name":"a","role":"worker","scopes":["run:read"],"owner":"user:ann"}',
      'agents.update agent:a {"displayName":"A","scopes":[]}',
      'agents.update agent:a {"egress":["npm","web"]}',
      'agents.update agent:a {"egress":null}',
      'agents.update agent:a {"egress":[]}',
      ...[
        'agents.disable "agent:a"',
        'agents.disable "service:b"',
        'agents.enable "agent:a"',
        'agents.remove "agent:a"',
      ],
    ]);
    for (const words of [
      ['create', 'a', '--role', 'worker'],
      ['create', 'user:a', '--role', 'worker'],
      ['create', 'agent:a', '--role', 'worker', '--scope', 'all'],
      ['update', 'agent:a'],
    ])
      assert.equal((await sealwright('agents', ...words)).status, 2);
  });

  it('are listed without what a terminal would obey', async () => {
    const { out } = await sealwright('agents', 'ls', '--owner', 'user:t');
    assert.match(out, /^AGENT +NAME +OWNER/);
    assert(!out.includes('\x1b') && out.includes('service:b'));
    assert(!(await sealwright('agents', 'get', 'agent:a')).out.includes('\x1b'));
  });

  it('get credentials, of which a secret alone is on standard output', async () => {
    const { out, err } = await sealwright(
      'agents',
      'credentials',
      'add-secret',
      'agent:a',
      '--expires',
      '90d',
    );
    assert.equal(out, 'sws_shown\n');
    assert(!err.includes('sws_shown'));
    const file = (name: string, text: string) => {
      writeFileSync(join(environment.cwd, name), text);
      return name;
    };
    await sealwright('agents', 'credentials', 'add-key', 'agent:a', file('key.jwk', '{"kty":"OKP"}'));
    const pem = await sealwright(
      ...['agents', 'credentials', 'issue-certificate', 'agent:a', file('r.pem', 'CSR'), '--expires', '2h'],
    );
    assert.equal(pem.out, 'PEM\n');
    await sealwright('agents', 'credentials', 'revoke', 'agent:a', 'crd_1', 'crd_2');
    await sealwright('agents', 'authority', 'rotate', '--overlap', '0s');
    assert.equal((await sealwright('agents', 'authority')).out, 'PEM\nPEM\n');
    assert.deepEqual(server.calls, [
      'agents.addSecret agent:a {"expiresInSeconds":7776000}',
      'agents.addKey agent:a {"jwk":{"kty":"OKP"}}',
      'agents.issueCertificate agent:a {"expiresInSeconds":7200,"request":"CSR"}',
      'agents.revokeCredential agent:a "crd_1"',
      'agents.revokeCredential agent:a "crd_2"',
      'authority.rotate {"overlapSeconds":0}',
    ]);
    const kept = file('private.jwk', '{"kty":"OKP","d":"hidden"}');
    const refused = await sealwright('agents', 'credentials', 'add-key', 'agent:a', kept);
    assert.deepEqual([refused.status, refused.err.includes('hidden')], [1, false]);
    assert.equal(server.calls.length, 6);
  });
});
