import { type Logger, pino } from 'pino';

/** Lines that wait while they cannot be written; more are dropped. */
const waitingBytesMax = 256 * 1024;

/**
 * The log of one of the processes, on its standard output. Lines that cannot be written wait for room on the
 * disk and are dropped past a bound: a full disk costs lines, never the process and the sandboxes below it.
 */
export function openProcessLog(name: 'control' | 'runner' | 'gateway', level: string): Logger {
  const output = pino.destination({ fd: 1, sync: true, maxLength: waitingBytesMax });
  output.on('error', () => undefined);
  return pino({ level, base: { process: name } }, output);
}
