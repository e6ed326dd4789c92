import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { createClient } from '../../src/client/client.ts';

/**
 * Many viewers of one terminal in a process of their own. Says `{ "ready": 1 }` once all are there, and then, for each line
 * on its standard input, when the last of them had one more byte of output: `{ "at": … }`, in milliseconds of the epoch.
 */
type Wish = { readonly count: number } & (
  | { readonly port: number }
  | { readonly url: string; readonly tokens: readonly string[]; readonly run: string }
);

const wish = JSON.parse(process.argv[2]!) as Wish;
let seen = 0;
let due = Promise.withResolvers<void>();

/** Keys are typed one after the other, so each viewer sees one byte for each. */
function saw(bytes: number): void {
  seen += bytes;
  if (seen >= wish.count) due.resolve();
}

async function view(index: number): Promise<void> {
  if ('port' in wish) {
    const socket = new WebSocket(`ws://127.0.0.1:${wish.port}`, { perMessageDeflate: false });
    socket.on('message', (data: Buffer) => saw(data.length));
    await once(socket, 'open');
    return;
  }
  const { url, tokens, run } = wish;
  const client = createClient({ url, token: tokens[index % tokens.length]! });
  const attached = Promise.withResolvers<void>();
  const terminal = await client.attach.openTerminal({
    ticket: () => client.attach.ticket(run, { role: 'viewer' }),
    redraw: () => undefined,
    output: (bytes) => saw(bytes.length),
    changed: ({ phase, clients }) => {
      if (phase === 'attached' && clients.length > 0) attached.resolve();
    },
  });
  void terminal.ended.then((end) => attached.reject(new Error(JSON.stringify(end))));
  await attached.promise;
}

for (let index = 0; index < wish.count; index += 1) await view(index);
// What is on its way still: pictures of the screen.
await pause(500);
seen = 0;
due = Promise.withResolvers();
console.log(JSON.stringify({ ready: 1 }));
for await (const _ of createInterface({ input: process.stdin })) {
  await due.promise;
  console.log(JSON.stringify({ at: performance.timeOrigin + performance.now() }));
  seen -= wish.count;
  due = Promise.withResolvers();
  if (seen >= wish.count) due.resolve();
}
process.exit();
