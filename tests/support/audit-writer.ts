import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/base/clock.ts';
import { newId } from '../../src/model/ids.ts';
import { attempt } from './audit.ts';

/** Appends to a stream, signed by `key.pem` in its folder, until it is killed, and says on stdout what was acknowledged: `id seq hash action`. */
const [folder, round] = process.argv.slice(2);
const writers = 8;

const log = await openAuditLog({
  folder: folder!,
  stream: 'control',
  clock: systemClock,
  newId: () => newId('event', systemClock.now()),
  signingKeys: [createPrivateKey(readFileSync(join(folder!, 'key.pem')))],
});

async function write(writer: number): Promise<void> {
  for (let index = 0; ; index += 1) {
    const action = `r${round}.w${writer}.${index}`;
    const data = { pad: 'x'.repeat((index * 97) % 900) };
    const { id, seq, hash } = await log.append(attempt(action, { data }));
    writeSync(1, `${id} ${seq} ${hash} ${action}\n`);
  }
}

await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
