import { parseArgs } from 'node:util';
import { otherActor } from '../tests/support/attached.ts';
import { startInstance } from '../tests/support/instance.ts';
import { bulkRows } from './attach/bulk.ts';
import { crowdRows, echoRows } from './attach/echo.ts';
import { echoCommand, present } from './attach/line.ts';
import { type OurLine, openOurs } from './attach/ours.ts';
import { bareTerminal, bareWebSocket, rawTerminal, sshd, ttyd } from './attach/peers.ts';
import { recordingRows } from './attach/recording.ts';
import { printRows, type Row } from './row.ts';

/**
 * Live terminals, with authorization, recording and audit on, beside sshd (Debian's openssh-server and openssh-client),
 * ttyd, a pseudo-terminal of this host, a WebSocket in Node that gives back what it gets, and the two together. Peers
 * that are not installed are named. `node bench/attach.ts [echo] [viewers] [recording] [bulk] [--json] [--short]`, as root.
 */
const kinds = ['echo', 'viewers', 'recording', 'bulk'] as const;

export async function benchAttach(wanted: readonly string[] = kinds, isShort = false): Promise<Row[]> {
  const instance = await startInstance();
  const { here, missing } = present([rawTerminal, bareWebSocket, bareTerminal, ttyd(), sshd()]);
  const rows: Row[] = [...missing];
  let last: OurLine | null = null;
  const ours = {
    name: 'sealwright',
    open: async (command: readonly string[]) => {
      last = await openOurs(instance, command);
      return last;
    },
    breaks: () => last?.breaks() ?? 0,
  };
  try {
    if (wanted.includes('echo')) rows.push(...(await echoRows(here, ours, isShort ? 100 : 500)));
    if (wanted.includes('viewers')) {
      const { url } = instance;
      // Nobody has as many connections alone.
      const tokens = [await otherActor(instance, 'viewers-1'), await otherActor(instance, 'viewers-2')].map(
        ({ token }) => token,
      );
      const open = async () => {
        const line = await openOurs(instance, echoCommand);
        return { line, wish: { url, tokens, run: line.run } };
      };
      rows.push(...(await crowdRows(open, isShort ? 50 : 500)));
    }
    if (wanted.includes('recording')) rows.push(...(await recordingRows(isShort ? 2 : 8)));
    if (wanted.includes('bulk')) {
      const terminals = here.filter((peer) => peer !== bareWebSocket);
      rows.push(...(await bulkRows(terminals, ours, isShort ? 4 : 64)));
    }
    return rows;
  } finally {
    await instance.remove();
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, short: { type: 'boolean' } },
  });
  const unknown = positionals.find((name) => !(kinds as readonly string[]).includes(name));
  if (unknown !== undefined) throw new Error(`${unknown} is none of ${kinds.join(', ')}`);
  const wanted = positionals.length === 0 ? kinds : positionals;
  printRows(await benchAttach(wanted, values.short === true), values.json === true);
}

if (import.meta.main) await main();
