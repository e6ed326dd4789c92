import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Fault } from '../contract/faults.ts';
import { plainRedactor } from '../redaction/redactor.ts';

/**
 * How `up` talks to the processes it starts. The first line of their standard input is their configuration,
 * so that nothing of it is on a command line or in an environment; further lines change it, and the end of it means that
 * `up` is gone, and they end too. On file descriptor 3 they answer with one line: that they are ready, or why they are not.
 */
export type Readiness = { readonly ready: Record<string, unknown> } | { readonly fatal: string };

const readyFd = 3;

/**
 * Reads the configuration; `onOrphaned` is called once when the parent is gone, and `onUpdate` for each line that `up`
 * writes after it.
 */
export function readConfiguration<T>(
  onOrphaned: () => void,
  onUpdate: (update: unknown) => void = () => undefined,
): Promise<T> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: process.stdin });
    lines.once('line', (first) => {
      resolve(JSON.parse(first) as T);
      lines.on('line', (line) => onUpdate(JSON.parse(line)));
    });
    lines.once('close', onOrphaned);
  });
}

export function reportReady(facts: Record<string, unknown>): void {
  writeSync(readyFd, `${JSON.stringify({ ready: facts } satisfies Readiness)}\n`);
}

/** Says why the process cannot start and ends it. */
export function reportFatal(error: unknown): never {
  const { text } = plainRedactor;
  const fatal = text(
    error instanceof Fault ? error.detail : error instanceof Error ? error.message : String(error),
  );
  try {
    writeSync(readyFd, `${JSON.stringify({ fatal } satisfies Readiness)}\n`);
  } catch {
    // Nobody listens any more.
  }
  console.error(
    JSON.stringify({
      level: 'fatal',
      message: fatal,
      stack: error instanceof Error ? text(error.stack ?? '') : undefined,
    }),
  );
  process.exit(1);
}

/** Ends the process on the usual signals and when the parent is gone, after `close`, once. */
export function endOnSignals(close: () => Promise<void>): () => void {
  let ending = false;
  const end = () => {
    if (ending) return;
    ending = true;
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(JSON.stringify({ level: 'error', message: plainRedactor.text(String(error)) }));
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  // `up` decides the order in which its processes end.
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  return end;
}
