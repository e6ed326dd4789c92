import { once } from 'node:events';
import type { Client } from '../../src/client/client.ts';
import { attachTicket } from '../../tests/support/attached.ts';
import type { Instance } from '../../tests/support/instance.ts';
import { Ear, type Line } from './line.ts';

const readyMs = 20_000;

export type OurLine = Line & {
  readonly run: string;
  /** How often the server cut it for being slow, or it came again for another reason. */
  breaks(): number;
};

/** A run's terminal with everything on: ticket, roles, lease, audit and recording. Driven by the client that the CLI has. */
export async function openOurs(instance: Instance, command: readonly string[]): Promise<OurLine> {
  const { client } = instance;
  const session = await client.sessions.create({ attach: { enabled: true } });
  const run = await client.runs.create({
    ...{ session: session.id, command: [...command], diff: false },
    terminal: { columns: 80, rows: 24 },
  });
  const { line, breaks } = await drive(client, run.id);
  return {
    ...line,
    run: run.id,
    breaks,
    pids: instance.pids(),
    close: async () => {
      await line.close();
      await client.runs.stop(run.id);
    },
  };
}

async function drive(client: Client, run: string) {
  const ear = new Ear();
  const driving = Promise.withResolvers<void>();
  let breaks = 0;
  const terminal = await client.attach.openTerminal({
    ticket: () => attachTicket(client, run, { role: 'driver' }),
    drive: 'ask',
    redraw: () => undefined,
    output: (bytes) => ear.hear(Buffer.from(bytes)),
    changed: ({ phase, input }) => {
      if (phase === 'broken') breaks += 1;
      if (input?.allowed === true) driving.resolve();
    },
  });
  const late = AbortSignal.timeout(readyMs);
  const over = terminal.ended.then((end) => driving.reject(new Error(JSON.stringify(end))));
  await Promise.race([driving.promise, over, once(late, 'abort').then(() => driving.reject(late.reason))]);
  await driving.promise;
  const line = {
    name: 'sealwright',
    type: (bytes: Buffer) => void terminal.input(bytes),
    listen: ear.listen,
    close: async () => {
      terminal.leave();
      await terminal.ended;
    },
  };
  return { line, breaks: () => breaks };
}
