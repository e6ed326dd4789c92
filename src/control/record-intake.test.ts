import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { attempt, chainOf } from '../../tests/support/audit.ts';
import { actorOf, callerOf, TestControl } from '../../tests/support/test-control.ts';
import type { NewEvent } from '../audit/event.ts';
import type { Channel } from '../base/channel.ts';
import type { EgressFlow } from '../model/egress.ts';
import { newId, type RunId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';
import { controlLimits } from './limits.ts';

const ann = callerOf(actorOf('ann'));
const stream = 'runner-hostil';

const asBytes = (lines: readonly string[]) => Buffer.from(lines.map((line) => `${line}\n`).join(''));
const told = (action: string): NewEvent => ({ ...attempt(action), phase: 'note' });

/** A runner that offers `seq` events of its stream and sends these bytes, whatever it is asked for. */
const sending =
  (seq: number, ...frames: (Buffer | object)[]) =>
  async (channel: Channel) => {
    await channel.sendJson({ stream, seq });
    await channel.read();
    for (const frame of frames) {
      if (Buffer.isBuffer(frame)) await channel.sendData(frame);
      else await channel.sendJson(frame);
    }
    await channel.closed;
  };

/** Resolves with the detail once readiness says that the record is not well. */
async function detail(test: TestControl): Promise<string> {
  for (;;) {
    const { audit } = (await test.control.readiness()).checks;
    if (!audit.ok) return audit.detail ?? '';
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function gaps(test: TestControl): Promise<unknown[]> {
  const found = (await test.events()).filter(({ action }) => action === 'audit.gap-found');
  return found.map(({ resource, data, outcome }) => [resource.id, data?.expected, data?.found, outcome]);
}

/** From now on the runner hands over like this. */
async function now(test: TestControl, handOver: ((channel: Channel) => Promise<void>) | null): Promise<void> {
  if (test.runner.handOver === null) await test.runner.until(() => test.runner.handedOver);
  test.runner.handOver = handOver;
  test.runner.cut();
}

const mirrorOf = (test: TestControl, name: string) =>
  join(test.folder, 'audit', name, '0000000000000001.jsonl');

/** Resolves once the mirror of the hostile stream holds so many lines. */
async function mirrored(test: TestControl, count: number): Promise<void> {
  const path = mirrorOf(test, stream);
  while (!existsSync(path) || readFileSync(path, 'utf8').split('\n').length <= count)
    await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('a stream that does not continue', () => {
  const lines = chainOf(
    stream,
    ['runner.started', 'egress.connect', 'egress.ended', 'audit.heartbeat'].map((action) => told(action)),
  );
  const foreign = chainOf(stream, [told('runner.started'), told('run.create')]);
  const flowless = chainOf(stream, [{ ...told('egress.connect'), data: { flow: -1, host: 'a.example' } }]);
  const hostile: [
    what: string,
    handOver: (channel: Channel) => Promise<void>,
    expected: RegExp,
    found: RegExp,
  ][] = [
    ['a gap', sending(4, asBytes(lines.slice(0, 2)), asBytes(lines.slice(3))), /event 3/, /event 4/],
    [
      'a fork',
      sending(
        4,
        asBytes(lines.slice(0, 2)),
        asBytes([lines[2]!.replace(/"prev":"\w+"/, `"prev":"${'0'.repeat(64)}"`)]),
      ),
      /event 3/,
      /one behind 0{64}/,
    ],
    [
      'an act that is nobody’s of a runner',
      sending(2, asBytes(foreign)),
      /event 2 of a runner/,
      /run\.create/,
    ],
    ['a flow that no gateway tells of', sending(1, asBytes(flowless)), /event 1/, /no gateway/],
    ['an endless line', sending(1, Buffer.alloc(100_000, 'x')), /event 1/, /part of a line/],
    [
      'a checkpoint that nobody signed',
      sending(1, asBytes(lines.slice(0, 1)), { checkpoint: 'x' }),
      /a signed checkpoint of 1/,
      /did not sign/,
    ],
  ];
  for (const [what, handOver, expected, found] of hostile)
    it(`${what}: is recorded once and makes control not ready, and everything else goes on`, async () => {
      await using test = await TestControl.open({ endsAtOnce: true });
      await now(test, handOver);
      const said = await detail(test);
      assert.match(said, expected);
      assert.match(said, found);
      await test.connected();
      const { id } = await test.run(ann, await test.session(ann));
      assert.equal((await test.finished(ann, id)).phase, 'succeeded');
      const recorded = (await gaps(test)) as [string, string, string, string][];
      assert.equal(recorded.length, 1);
      assert.equal(recorded[0]![0], stream);
      assert.match(recorded[0]![1], expected);
      assert.match(recorded[0]![2], found);
      assert.equal(recorded[0]![3], 'failed');
    });

  it('is another thing than one that tells of commands and recordings, which is taken over', async () => {
    await using test = await TestControl.open();
    const acts = ['runner.started', 'exec.start', 'terminal.recorded', 'exec.end'];
    await now(
      test,
      sending(
        4,
        asBytes(
          chainOf(
            stream,
            acts.map((action) => told(action)),
          ),
        ),
      ),
    );
    await mirrored(test, 4);
    assert.deepEqual(await gaps(test), []);
  });

  it('because the runner lost the end of it is found at once', async () => {
    await using test = await TestControl.open();
    await now(test, sending(4, asBytes(lines)));
    await mirrored(test, 4);
    await now(test, sending(2));
    assert.match(await detail(test), /event 4 or a later one, found event 2/);
  });

  it('that goes on as it should again makes control ready again', async () => {
    await using test = await TestControl.open();
    await now(test, sending(4, asBytes(lines.slice(0, 2)), asBytes(lines.slice(3))));
    await detail(test);
    await now(test, sending(4, asBytes(lines.slice(2))));
    while (!(await test.control.readiness()).checks.audit.ok)
      await new Promise((resolve) => setTimeout(resolve, 5));
  });

  it('of which the offer is no runner’s is not followed', async () => {
    await using test = await TestControl.open();
    for (const name of ['control', '../runner-aaaaaa', 'runner-AAAAAA', 'runner-aaaaaaa']) {
      const tried = Promise.withResolvers<void>();
      test.runner.handOver = async (channel) => {
        await channel.sendJson({ stream: name, seq: 1 });
        if ((await channel.read()) === null) tried.resolve();
      };
      test.runner.cut();
      await tried.promise;
    }
    assert.deepEqual(await gaps(test), []);
  });

  const unfollowable: [what: string, handOver: (channel: Channel) => Promise<void>][] = [
    [
      'that is offered and not handed over',
      async (channel) => {
        await channel.sendJson({ stream, seq: 4 });
        await channel.read();
      },
    ],
    ['behind which comes a word that is none', sending(4, { nonsense: true })],
  ];
  for (const [what, handOver] of unfollowable)
    it(`${what} makes control not ready, until it is handed over`, async () => {
      await using test = await TestControl.open();
      await now(test, handOver);
      assert.equal(await detail(test), 'the runner does not hand over its record');
      assert.deepEqual(await gaps(test), []);
      await now(test, null);
      while (!(await test.control.readiness()).checks.audit.ok)
        await new Promise((resolve) => setTimeout(resolve, 5));
    });

  it('a runner that begins stream after stream is not followed for ever', async () => {
    await using test = await TestControl.open();
    await test.runner.until(() => test.runner.handedOver);
    const name = (at: number) =>
      `runner-${String.fromCharCode(97 + (at % 26), 97 + Math.floor(at / 26))}aaaa`;
    for (let at = 0; at < controlLimits.mirroredStreamsMax; at += 1)
      mkdirSync(join(test.folder, 'audit', name(at)), { recursive: true });
    await now(test, sending(4, asBytes(lines)));
    assert.match(await detail(test), /one of 32 streams of runners/);
    assert.equal(existsSync(join(test.folder, 'audit', stream)), false);
  });
});

describe('the runner', () => {
  async function hosted(test: TestControl): Promise<RunId> {
    const { id } = await test.run(ann, await test.session(ann));
    await test.runner.until(() => test.runner.live.has(id));
    return id;
  }

  const flow = (run: RunId, id: number): EgressFlow => ({
    ...{ id, run, at: 1_700_000_000_000, host: 'a.example', address: null, port: 443, protocol: 'https' },
    ...{ method: null, path: null, verdict: 'allowed', rule: 'a#1', denial: null, generation: 1, count: 1 },
  });

  it('that cannot write its record makes control not ready', async () => {
    await using test = await TestControl.open();
    test.runner.recordOk = false;
    await new Promise((resolve) => setTimeout(resolve, controlLimits.readinessFreshMs));
    const { ready, checks } = await test.control.readiness();
    assert.deepEqual(
      [ready, checks.runner],
      [false, { ok: false, detail: 'the runner cannot write its record' }],
    );
  });

  it('of which a mirror was left is known after a restart, and one that cannot be read is told', async () => {
    await using test = await TestControl.open();
    await test.runner.until(() => test.runner.handedOver);
    const first = test.runner.record.stream;
    const checkpoint = join(test.folder, 'audit', first, 'checkpoint');
    while (!existsSync(checkpoint)) await new Promise((resolve) => setTimeout(resolve, 5));
    await test.runner.stop();
    await test.runner.beginRecord('elsewhere');
    await test.stop();
    await test.start();
    await test.runner.listen();
    const auditor = callerOf(actorOf('eve', 'all', roles.auditor));
    const known = async () => (await test.control.auditProofs.streams(auditor)).map(({ stream }) => stream);
    while (!(await known()).includes(first)) await new Promise((resolve) => setTimeout(resolve, 5));
    await test.stop();
    const path = mirrorOf(test, first);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"audit.opened"', '"audit.Opened"'));
    await test.start();
    assert.match(await detail(test), new RegExp(`mirror of the stream ${first} cannot be opened`));
  });

  it('whose folder was lost begins another stream, and both are kept', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell([flow(run, 1)]);
    await test.runner.until(() => test.runner.handedOver);
    const first = test.runner.record.stream;
    await test.runner.stop();
    await test.runner.beginRecord('elsewhere');
    test.runner.relay.host({ run, session: newId('session', 1), owner: 'user:ann' });
    await test.runner.listen();
    test.runner.tell([flow(run, 2)]);
    await test.runner.until(() => test.runner.handedOver);
    const second = test.runner.record.stream;
    assert.notEqual(second, first);
    for (const name of [first, second]) assert(existsSync(mirrorOf(test, name)), name);
    const { items } = await test.control.runs.egress(ann, run, {});
    assert.deepEqual(
      items.map(({ id }) => id),
      [1, 2],
    );
    assert.equal((await test.control.readiness()).checks.audit.ok, true);
  });

  it('is told what control signed last, and says what it signed: each records it of the other', async () => {
    await using test = await TestControl.open();
    await test.runner.until(() => test.runner.checkpoint !== null);
    const { origin, size, root } = test.audit.checkpoint();
    const claim = { stream: 'control', origin, size, root: root.toString('base64') };
    assert.deepEqual(test.runner.checkpoint, claim);
    await test.session(ann);
    await test.audit.sign();
    await test.runner.until(() => (test.runner.checkpoint?.size ?? 0) > size);
    await test.runner.until(() => test.runner.handedOver);
    await test.stop();
    const closed = (await test.events()).at(-1);
    await test.start();
    assert.equal(closed?.action, 'audit.closed');
    const own = test.runner.record.checkpoint;
    assert.deepEqual(closed?.data, {
      checkpoints: [
        {
          stream: test.runner.record.stream,
          origin: own.origin,
          size: own.size,
          root: own.root.toString('base64'),
        },
      ],
    });
  });

  it('ends a run only when the store has what it reached for', async () => {
    await using test = await TestControl.open();
    const run = await hosted(test);
    test.runner.tell(Array.from({ length: 250 }, (_, id) => flow(run, id + 1)));
    test.runner.finish(run);
    await test.finished(ann, run);
    assert.equal((await test.control.runs.egress(ann, run, { limit: 1 })).counts?.allowed, 250);
  });
});
