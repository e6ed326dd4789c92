import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { KeyFile } from '../../src/audit/key-file.ts';
import { auditLimits } from '../../src/audit/limits.ts';
import { openAuditLog, type SignedAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/base/clock.ts';
import { newId } from '../../src/model/ids.ts';
import { attempt } from './audit.ts';

/**
 * A writer of the stream `control` in a folder, signed by `key.pem` there, for tests that kill it or make its system calls
 * fail. `endless` appends, signs and rotates its key until it is killed; `script` does some of each once, and closes. Says on
 * stdout what became of each act: `+ id seq hash action` where it was acknowledged, `- action` where it was refused.
 */
const [folder, mode, round] = process.argv.slice(2) as [string, 'endless' | 'script', string];

const keys = await KeyFile.open(join(folder, 'key.pem'));
const log = await openAuditLog({
  folder,
  stream: 'control',
  clock: systemClock,
  newId: () => newId('event', systemClock.now()),
  signingKeys: keys.keys,
});
await keys.settle(log);
say('opened');
await (mode === 'endless' ? endless(log) : script(log));

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function act(action: string, index: number): Promise<boolean> {
  try {
    const { id, seq, hash } = await log.append(
      attempt(action, { data: { pad: 'x'.repeat((index * 97) % 900) } }),
    );
    say(`+ ${id} ${seq} ${hash} ${action}`);
    return true;
  } catch {
    say(`- ${action}`);
    return false;
  }
}

async function endless(log: SignedAuditLog): Promise<void> {
  const write = async (writer: number) => {
    for (let index = 0; ; index += 1) await act(`r${round}.w${writer}.${index}`, index);
  };
  const sign = async () => {
    // What has nothing to sign waits for nothing, and would let nobody else in.
    for (;;) {
      await log.sign();
      await nextTurn();
    }
  };
  const rotate = async () => {
    for (;;) await keys.rotate(log);
  };
  await Promise.all([...Array.from({ length: 4 }, (_, writer) => write(writer)), sign(), rotate()]);
}

/** Waits after what failed until the log tries again. */
async function script(log: SignedAuditLog): Promise<void> {
  const settle = async (done: boolean) => {
    if (!done) await pause(auditLimits.recoveryEveryMs + 10);
  };
  const quietly = (step: Promise<unknown>) =>
    step.then(
      () => true,
      () => false,
    );
  for (let index = 0; index < 3; index += 1) await settle(await act(`one.${index}`, index));
  await settle(await quietly(log.sign()));
  const many = await Promise.all([3, 4, 5].map((index) => act(`many.${index}`, index)));
  await settle(many.every(Boolean));
  await settle(await quietly(keys.rotate(log)));
  for (let index = 6; index < 9; index += 1) await settle(await act(`rotated.${index}`, index));
  await settle(await quietly(log.sign()));
  await act('last', 9);
  await log.close();
  say('closed');
}
