import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { lineDiff } from './line-diff.ts';
import { parsePolicyText } from './policy-file.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment();
  server = new TestServer();
});
afterEach(() => environment.dispose());

async function sealwright(...words: string[]) {
  environment.stdout.chunks.length = 0;
  environment.stderr.chunks.length = 0;
  const context = testContext(environment, server);
  const program = buildProgram(context, () => {});
  const status = await runProgram(program, words, context);
  return { status, out: environment.stdout.text, err: environment.stderr.text };
}

function file(name: string, text: string | Buffer): string {
  writeFileSync(join(environment.folder, name), text);
  return name;
}

const yaml = `# what the build needs
rules:
  - preset: npm
  - host: example.com
    ports: [443, 8443]
`;
const document = { rules: [{ preset: 'npm' }, { host: 'example.com', ports: [443, 8443] }] };

describe('a policy file', () => {
  it('of YAML or JSON is put as the document that it is', async () => {
    const put = await sealwright('policy', 'put', 'web', file('web.yaml', yaml), '--reason', 'the build');
    assert.deepEqual([put.status, put.out, put.err], [0, 'web 1\n', '']);
    const again = await sealwright(
      'policy',
      'put',
      'web',
      file('web.json', JSON.stringify(document)),
      '--json',
    );
    assert.deepEqual(JSON.parse(again.out).document, document);
    assert.deepEqual(server.calls, [
      `policies.put web ${JSON.stringify({ document, reason: 'the build' })}`,
      `policies.put web ${JSON.stringify({ document, reason: null })}`,
    ]);
  });

  it('that cannot be enforced is not sent, and every place is named by line and column', async () => {
    const bad = file('bad.yaml', `rules:\n  - host: 127.0.0.1\n  - host: a.example\n    secret: x\n`);
    const put = await sealwright('policy', 'put', 'web', bad);
    assert.equal(put.status, 1);
    assert.match(put.err, /^sealwright: bad\.yaml:4:5: rules\[1\]\.secret cannot be enforced yet\n/);
    const check = await sealwright('policy', 'check', file('bad.yaml', 'rules:\n  - host: 127.0.0.1\n'));
    assert.equal(check.status, 1);
    assert.match(check.err, /^sealwright: bad\.yaml:2:5: rules\[0\]\.host is an IP address/);
    assert.deepEqual(server.calls, []);
  });

  it('of any bytes is read or refused with where it fails', async () => {
    const cases: readonly (readonly [string | Buffer, RegExp])[] = [
      ['rules: [', /bad:1:\d+: /],
      ['rules: []\nrules: []\n', /bad:2:1: Map keys must be unique/],
      ['\trules: []', /bad:1:\d+: /],
      ['- a', /bad:1:1: /],
      ['', /bad:1:1: /],
      ['null', /bad:1:1: /],
      ['rules: !!js/function x', /bad:1:8: /],
      ['a: &a [x, x]\nb: &b [*a, *a]\nrules: *b', /bad:/],
      ['--- \nrules: []\n---\nrules: []\n', /bad:/],
      ['__proto__: {rules: []}', /bad:1:1: /],
      [Buffer.from([0xff, 0xfe]), /not UTF-8/],
      ['x'.repeat(2 ** 20 + 1), /too large/],
      ['rules:\n  - {host: "a\\e[2J.example"}', /bad:2:6: rules\[0\]\.host /],
    ];
    for (const [text, said] of cases) {
      const { status, err } = await sealwright('policy', 'check', file('bad', text));
      assert.equal(status, 1, String(text));
      assert.match(err, said);
      assert.doesNotMatch(err, /\x1b|bug in Sealwright/);
    }
    assert.match((await sealwright('policy', 'check', 'nowhere')).err, /cannot be read \(ENOENT\)/);
    assert.match((await sealwright('policy', 'check', '.')).err, /cannot be read \(EISDIR\)/);
  });

  it('whatever it holds never is a bug', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const read = parsePolicyText(text, 'web');
        if ('problems' in read)
          for (const { line, column } of read.problems) assert(line >= 1 && column >= 1);
      }),
      { numRuns: 300 },
    );
  });

  it('is checked without a server', async () => {
    const { status, out } = await sealwright('policy', 'check', file('web.yaml', yaml));
    assert.deepEqual([status, out], [0, 'web.yaml can be enforced: 2 rules\n']);
    const limited = await sealwright(
      'policy',
      'check',
      file('limited.yaml', `${yaml}limits: {connections: 9}`),
    );
    assert.equal(limited.out, 'limited.yaml can be enforced: 2 rules, connections 9\n');
    const bounds = await sealwright('policy', 'check', '--json', 'limited.yaml');
    assert.deepEqual(JSON.parse(bounds.out).limits, { connections: 9 });
    const wrong = await sealwright('policy', 'check', file('bad.yaml', `${yaml}limits:\n  bytesOut: 0\n`));
    assert.match(wrong.err, /^sealwright: bad\.yaml:7:3: limits\.bytesOut /);
    const good = await sealwright('policy', 'check', '--json', 'web.yaml');
    assert.deepEqual(
      JSON.parse(good.out).rules.map((rule: { name: string }) => rule.name),
      ['npm#1', 'policy#2'],
    );
    const bad = await sealwright(
      'policy',
      'check',
      '--json',
      file('bad.yaml', 'rules: [{cidr: 10.0.0.0/8}]'),
    );
    assert.equal(bad.status, 1);
    assert.deepEqual(
      JSON.parse(bad.out).problems.map((problem: { path: string; line: number; column: number }) => [
        ...[problem.path, problem.line, problem.column],
      ]),
      [['rules[0].ports', 1, 9]],
    );
  });
});

describe('policies', () => {
  it('come back as a file that can be put again', async () => {
    await sealwright('policy', 'put', 'web', file('web.yaml', yaml), '--reason', 'why');
    const { out } = await sealwright('policy', 'get', 'web');
    assert.match(out, /^# web, generation 1, user:t at .*: why\nrules:\n {2}- preset: npm\n/);
    const read = parsePolicyText(out, 'web');
    assert('document' in read);
    assert.deepEqual(read.document, document);
    assert.deepEqual(JSON.parse((await sealwright('policy', 'get', 'web', '--json')).out), document);
    await sealwright('policy', 'put', 'web', file('none.yaml', 'rules: []'));
    assert.deepEqual(JSON.parse((await sealwright('policy', 'get', 'web', '-o', 'json')).out), { rules: [] });
    const first = await sealwright('policy', 'get', 'web', '--generation', '1', '-o', 'json');
    assert.deepEqual(JSON.parse(first.out), document);
    assert.equal((await sealwright('policy', 'get', 'web', '-o', 'table')).status, 2);
    assert.equal((await sealwright('policy', 'get', 'nowhere')).status, 1);
  });

  it('are given to a team, taken back for everybody, and otherwise left as they are', async () => {
    const none = file('none.yaml', 'rules: []');
    for (const flags of [['--team', 'blue'], ['--no-team'], []])
      await sealwright('policy', 'put', 'web', none, ...flags);
    const puts = server.calls.filter((call) => call.startsWith('policies.put web '));
    assert.deepEqual(
      puts.map((call) => JSON.parse(call.slice('policies.put web '.length)).team),
      ['blue', null, undefined],
    );
  });

  it('are listed and removed', async () => {
    await sealwright('policy', 'put', 'web', file('web.yaml', yaml));
    assert.match(
      (await sealwright('policy')).out,
      /^POLICY +GENERATION +TEAM +AUTHOR +AGE +REASON\nweb +1 +everybody +user:t /,
    );
    assert.equal(JSON.parse((await sealwright('policy', 'ls', '--json')).out)[0].name, 'web');
    assert.equal((await sealwright('policy', 'rm', 'web')).out, 'web\n');
    assert.equal(server.calls.at(-1), 'policies.remove web');
  });

  it('differ from a file by the lines that say something else', async () => {
    await sealwright('policy', 'put', 'web', file('web.yaml', yaml));
    const same = await sealwright('policy', 'diff', 'web', file('same.yaml', `${yaml}  # the end\n`));
    assert.deepEqual([same.status, same.out], [0, '']);
    const other = yaml.replace('example.com', 'example.org');
    const { status, out } = await sealwright('policy', 'diff', 'web', file('other.yaml', other));
    assert.equal(status, 1);
    assert.match(out, /^--- web, generation 1\n\+\+\+ other\.yaml\n {2}rules:\n/);
    assert.deepEqual(
      out.split('\n').filter((line) => /^[-+] /.test(line)),
      ['-   - host: example.com', '+   - host: example.org'],
    );
    const limited = file('limited.yaml', `${yaml}limits: {requestsPerMinute: 60}`);
    assert.match(
      (await sealwright('policy', 'diff', 'web', limited)).out,
      /\n\+ limits:\n\+ {3}requestsPerMinute: 60\n {2}rules:\n/,
    );
    await sealwright('policy', 'put', 'web', limited);
    assert.match((await sealwright('policy', 'get', 'web')).out, /\nlimits:\n {2}requestsPerMinute: 60\n/);
  });
});

it('a diff of lines gives both texts back', () => {
  const texts = fc.array(fc.constantFrom('a', 'b', 'c', ''), { maxLength: 12 });
  fc.assert(
    fc.property(texts, texts, (a, b) => {
      const [before, after] = [a, b].map((lines) => lines.map((line) => `${line}\n`).join(''));
      const lines = lineDiff(before!, after!);
      if (lines === null) return assert.equal(before, after);
      const side = (...marks: string[]) =>
        lines.filter((line) => marks.includes(line[0]!)).map((line) => line.slice(2));
      assert.deepEqual([side(' ', '-'), side(' ', '+')], [a, b]);
    }),
  );
});
