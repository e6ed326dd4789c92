import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createAuthority } from '../base/certificates.ts';
import { unlimitedEgress } from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import { EgressRelay } from './egress-relay.ts';
import { GatewayProcess } from './gateway-process.ts';

/** A gateway that writes down what it is ordered and does nothing. */
const scribe = (file: string) => `
import { Channel } from '${import.meta.resolve('../base/channel.ts')}';
import { appendFileSync } from 'node:fs';
import { Socket } from 'node:net';
const channel = new Channel(new Socket({ fd: 3, readable: true, writable: true }));
await channel.sendJson({ word: 'ready' });
for (let frame = await channel.read(); frame?.kind === 'json'; frame = await channel.read()) {
  appendFileSync(${JSON.stringify(file)}, JSON.stringify(frame.value) + '\\n');
  await channel.sendJson({ word: 'done', id: frame.value.id });
}
process.exit(0);`;

test('a gateway that is started anew is given the authority of each sandbox again, and no log tells it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-gateway-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'orders');
  const said: unknown[] = [];
  const tell = (...words: unknown[]) => void said.push(words);
  const gateway = await GatewayProcess.start({
    words: [process.execPath, '--input-type=module', '--eval', scribe(file)],
    configuration: {},
    relay: new EgressRelay(),
    log: { info: tell, warn: tell },
  });
  t.after(() => gateway.close());
  const authorities = [createAuthority(0), createAuthority(0)];
  const doors = authorities.map((authority) => gateway.open([], authority));
  const policy = { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress } as const;
  await doors[0]!.admit('run_a' as RunId, policy, []);
  const first = gateway.pid!;
  process.kill(first, 'SIGKILL');
  while (gateway.pid === null || gateway.pid === first) await pause(5);
  await Promise.all(doors.map((door) => door.close()));
  const orders = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const opened = orders.filter(({ order }) => order === 'open');
  assert.deepEqual(
    opened.map(({ door, authority }) => [door, authority]),
    [
      [1, authorities[0]],
      [2, authorities[1]],
      [1, authorities[0]],
      [2, authorities[1]],
    ],
  );
  assert.ok(said.length > 0);
  assert.doesNotMatch(JSON.stringify(said), /PRIVATE/);
});
