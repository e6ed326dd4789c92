import { once } from 'node:events';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';

/**
 * A process that uses refresh tokens of one store: `race FILE TOKEN COUNT` the same token so many times at once, after
 * a line on standard input; `chain FILE TOKEN` each token that it gets, for ever. It prints each outcome once it is
 * durable, with the token that came of it.
 */
const [mode, file, token, count] = process.argv.slice(2) as [string, string, string, string | undefined];
const { identity } = await openSqliteStore({ file });
const { signIns } = identity;

async function use(used: string, next: string): Promise<void> {
  const { outcome } = await signIns.rotate(used, next, 1100);
  process.stdout.write(`${outcome} ${next}\n`);
}

process.stdout.write('ready\n');
if (mode === 'race') {
  await once(process.stdin, 'data');
  await Promise.all(Array.from({ length: Number(count) }, (_, at) => use(token, `${process.pid}-${at}`)));
  process.exit(0);
}
for (let at = 1, used = token; ; at += 1) {
  const next = `${token}-${at}`;
  await use(used, next);
  used = next;
}
