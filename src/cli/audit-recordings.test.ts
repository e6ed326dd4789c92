import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { newTestIds, RecordedRuns } from '../../tests/support/recorded-runs.ts';
import { openTestRecording, type TestIds } from '../../tests/support/recordings.ts';
import { actorOf, callerOf, TestControl } from '../../tests/support/test-control.ts';
import { newId, type RunId } from '../model/ids.ts';
import { plainRedactor } from '../redaction/redactor.ts';
import { runnerFolders } from '../runner/folders.ts';
import { Recordings } from '../runner/terminals/recording/recordings.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { testEnvironment } from './test-environment.ts';

function opened(t: TestContext) {
  const environment = testEnvironment({});
  t.after(() => environment.dispose());
  const path = (name: string) => join(environment.folder, name);
  const verify = async (...words: string[]) => {
    environment.stdout.chunks.length = 0;
    environment.stderr.chunks.length = 0;
    const context = testContext(environment, new TestServer());
    const program = buildProgram(context, () => {});
    const status = await runProgram(program, ['audit', 'verify', ...words], context);
    return { status, out: environment.stdout.text, err: environment.stderr.text };
  };
  return { folder: environment.folder, path, verify };
}

describe('audit verify --recordings', () => {
  test('holds those of a disk against the log; without a path that is this machine’s own', async (t) => {
    await using world = await RecordedRuns.open();
    const { run, terminal } = await world.record(100);
    await world.log.sign();
    const { folder, path, verify } = opened(t);
    const good = await verify(world.audit, '--recordings', world.folders.root);
    assert.equal(good.status, 0, good.out + good.err);
    assert.match(good.out, /runner: intact; 1 recording as recorded, \d.*\nintact\n$/);
    assert.doesNotMatch((await verify(world.audit)).out, /recording/, 'nobody asked');

    cpSync(world.path, folder, { recursive: true });
    const here = await verify();
    assert.match(here.out, /runner: intact; 1 recording as recorded/);
    const terminals = path(`runner/runs/${run.run}/terminals/${terminal.id}`);
    const name = readdirSync(terminals).find((one) => one.endsWith('.cast'))!;
    const size = readFileSync(join(terminals, name)).length;
    truncateSync(join(terminals, name), 100);
    const cut = await verify();
    assert.equal(cut.status, 1);
    assert.match(cut.out, /: intact; \d+ events/, 'the log itself');
    const place = `${run.run} ${terminal.id}: tampered\n +bytes 0 to ${size} \\(segment 0\\) were cut off`;
    assert.match(cut.out, new RegExp(`${place}.*\ntampered\n$`, 's'));
    const { status, recordings } = JSON.parse((await verify('--json')).out);
    assert.deepEqual([status, recordings.status], ['tampered', 'tampered']);
    const finding = { kind: 'cut', segment: 0, from: 0, to: size };
    assert.deepEqual(recordings.recordings[0].findings, [finding]);
  });

  test('says what it cannot read, and takes no other flag for it', async (t) => {
    await using world = await RecordedRuns.open();
    const { verify, path } = opened(t);
    const absent = await verify(world.audit, '--recordings', path('absent'));
    assert.equal(absent.status, 2);
    assert.match(absent.out, /absent: unreadable: it holds no folder 'runs'/);
    const wrong = await verify(world.audit, '--recording', path('x.cast'));
    assert.equal(wrong.status, 2);
    assert.match(wrong.err, /held against a bundle of evidence/);
  });
});

const auditor = callerOf(actorOf('eve', 'all', ['audit:read']));

type Made = { readonly ids: TestIds; readonly cast: Buffer; readonly bundle: Buffer; readonly title: string };

/** What is served of a recording and exported of its run, while it goes on or once it has ended. */
async function made(
  control: TestControl,
  options: { lines: number; text?: string; isEnded?: boolean; bytesMax?: number },
): Promise<Made> {
  const { lines, text = 'of many', isEnded = true, bytesMax = 10_000_000 } = options;
  const recordings = new Recordings({
    folders: runnerFolders(join(control.folder, 'runner')),
    clock: control.clock,
    redactor: plainRedactor,
    record: control.audit,
    log: { info: () => undefined, warn: () => undefined },
    bytesMax,
    segmentBytesMax: 20_000,
  });
  const ids = newTestIds();
  const { recorder, end } = openTestRecording(recordings, ['bash'], ids);
  const before = control.audit.head().seq;
  for (let line = 0; line < lines; line += 1) recorder.output(Buffer.from(`line ${line} ${text}\r\n`));
  if (isEnded) await end(0);
  else while (control.audit.head().seq < before + 2) await new Promise((resolve) => setImmediate(resolve));
  const bundle = await exported(control, ids.run.run);
  const cast = Buffer.concat([...recordings.read(ids.run.run, ids.terminal.id)!]);
  if (!isEnded) await end(0);
  const title = `${ids.run.run} ${ids.terminal.id}`;
  return { ids, cast, bundle, title };
}

async function exported(control: TestControl, run: RunId): Promise<Buffer> {
  const lines: string[] = [];
  for await (const line of await control.control.auditEvidence.export(auditor, { run }))
    lines.push(`${line}\n`);
  return Buffer.from(lines.join(''));
}

let whole: Made;
let other: Made;
let live: Made;
let shortened: Made;
/** A bundle of a run of which nothing is recorded. */
let silent: Buffer;

before(async () => {
  await using control = await TestControl.open();
  whole = await made(control, { lines: 3_000 });
  other = await made(control, { lines: 3_000, text: 'of others' });
  live = await made(control, { lines: 3_000, isEnded: false });
  shortened = await made(control, { lines: 20_000, bytesMax: 200_000 });
  silent = await exported(control, newId('run', 0));
});

function held(t: TestContext, { bundle, cast }: Pick<Made, 'bundle' | 'cast'>) {
  const { path, verify } = opened(t);
  writeFileSync(path('evidence.json'), bundle);
  writeFileSync(path('x.cast'), cast);
  return verify(path('evidence.json'), '--recording', path('x.cast'));
}

describe('audit verify BUNDLE --recording', () => {
  test('says that a recording which was fetched is what the record says, to its end', async (t) => {
    const { status, out } = await held(t, whole);
    assert.equal(status, 0, out);
    assert(out.includes(`x.cast: intact; ${whole.title}, ${whole.cast.length} bytes as recorded\n`), out);
    assert.match(out, / it ended, and nothing was recorded behind that\nintact\n$/);
  });

  const middle = () => Math.floor(whole.cast.length / 2);
  const without = (from: number, to: number) =>
    Buffer.concat([whole.cast.subarray(0, from), whole.cast.subarray(to)]);
  const lineEnd = (from: number) => whole.cast.indexOf('\n', from) + 1;
  const tamperings: [what: string, tamper: () => Buffer, told: RegExp][] = [
    [
      'a bit is flipped',
      () => Buffer.from(whole.cast).fill(whole.cast[middle()]! ^ 1, middle(), middle() + 1),
      /were changed/,
    ],
    ['the title is another', () => edited(whole.title, other.title), /bytes 0 to \d+ .*were changed/],
    ['the end is cut off', () => whole.cast.subarray(0, lineEnd(middle())), /were cut off at the end/],
    ['all is cut off', () => Buffer.alloc(0), /were cut off at the end/],
    ['a line is taken out', () => without(lineEnd(middle()), lineEnd(lineEnd(middle()))), /were changed/],
    [
      'a line is appended',
      () => Buffer.concat([whole.cast, Buffer.from('[9999.0, "o", "x"]\n')]),
      /were added after the recording had ended/,
    ],
    ['half a line is appended', () => Buffer.concat([whole.cast, Buffer.from('[9')]), /were added/],
    [
      'two halves are swapped',
      () => Buffer.concat([without(0, lineEnd(middle())), whole.cast.subarray(0, lineEnd(middle()))]),
      /changed/,
    ],
    ['it is that of another run', () => other.cast, /were changed/],
    ['a mark says that a part was dropped', () => marked(), /are missing, and nobody dropped them/],
  ];
  const edited = (from: string, to: string) => Buffer.from(whole.cast.toString().replace(from, to));
  /** A whole range is taken out, and a mark put there as a server would. */
  const marked = () => {
    const ranges = rangesOf(whole);
    const { from, to } = ranges[1]!;
    const mark = `[0.5, "m", "sealwright: ${to - from} bytes were dropped here"]\n`;
    return Buffer.concat([whole.cast.subarray(0, from), Buffer.from(mark), whole.cast.subarray(to)]);
  };

  for (const [what, tamper, told] of tamperings)
    test(`finds it where ${what}`, async (t) => {
      const { status, out } = await held(t, { ...whole, cast: tamper() });
      assert.equal(status, 1, out);
      assert.match(out, told);
      assert.match(out, /x\.cast: tampered;/);
    });

  test('of one that went on says how much the bundle does not know yet', async (t) => {
    const { status, out } = await held(t, live);
    assert.equal(status, 0, out);
    assert.match(out, /[1-9]\d* bytes are not on the record of the bundle yet\n.*it was going on/);
    const bytes = Buffer.from(live.cast);
    bytes[500]! ^= 1;
    assert.equal((await held(t, { ...live, cast: bytes })).status, 1);
  });

  test('takes the mark of what the recorder dropped for what it is, and no other', async (t) => {
    const { status, out } = await held(t, shortened);
    assert.equal(status, 0, out);
    assert.match(out, /bytes \d+ to \d+ were dropped by the recorder, to stay within its limit/);
    const text = shortened.cast.toString();
    for (const cast of [
      text.replace(
        /sealwright: (\d+) bytes were/,
        (_, count) => `sealwright: ${Number(count) + 10} bytes were`,
      ),
      text.replace(/\[[^\n]*bytes were dropped here"\]\n/, ''),
      text.replace(/(\[[^\n]*bytes were dropped here"\]\n)/, '$1$1'),
    ]) {
      assert.notEqual(cast, text);
      assert.equal((await held(t, { ...shortened, cast: Buffer.from(cast) })).status, 1);
    }
  });

  test('proves nothing by a bundle that does not verify, or tells nothing of it', async (t) => {
    const bad = Buffer.from(whole.bundle.toString().replace('user:ann', 'user:eve'));
    const tampered = await held(t, { ...whole, bundle: bad });
    assert.equal(tampered.status, 1);
    assert.match(tampered.out, /x\.cast: unreadable: the bundle does not verify/);
    const untold = await held(t, { ...whole, bundle: silent });
    assert.equal(untold.status, 2);
    assert(untold.out.includes(`no event of the bundle tells of ${whole.title}`), untold.out);
    const { path, verify } = opened(t);
    writeFileSync(path('e.json'), whole.bundle);
    const absent = await verify(path('e.json'), '--recording', path('absent'));
    assert.deepEqual([absent.status, /cannot be read: ENOENT/.test(absent.out)], [2, true]);
    writeFileSync(path('x.cast'), whole.cast);
    for (const words of [
      [path('e.json'), path('e.json'), '--recording', path('x.cast')],
      [path('e.json'), '--recordings', path('.')],
    ])
      assert.equal((await verify(...words)).status, 2);
    const json = await verify(path('e.json'), '--recording', path('x.cast'), '--json');
    const { status, recording } = JSON.parse(json.out);
    assert.deepEqual(
      [status, recording.verifiedBytes, recording.isEnded],
      ['intact', whole.cast.length, true],
    );
  });
});

/** The ranges that a bundle tells of, in their order. */
function rangesOf({ bundle }: Made): { from: number; to: number }[] {
  return bundle
    .toString()
    .split('\n')
    .filter((line) => line.includes('terminal.recorded'))
    .flatMap((line) => JSON.parse(JSON.parse(line).event).data.range ?? []);
}
