import { createInterface } from 'node:readline';
import { Fault } from '../../src/contract/faults.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';

/** A process that opens the store of each file named on standard input, and says of each whether it is one that works. */

async function openOnce(file: string): Promise<string> {
  try {
    const store = await openSqliteStore({ file });
    await store.check();
    await store.close();
    return 'open';
  } catch (error) {
    return error instanceof Fault ? `${error.code} ${error.detail} ${String(error.cause)}` : String(error);
  }
}

process.stdout.write('ready\n');
for await (const file of createInterface({ input: process.stdin })) {
  const outcome = await openOnce(file);
  process.stdout.write(`${outcome}\n`);
}
