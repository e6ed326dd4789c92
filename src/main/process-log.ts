import { type Logger, pino } from 'pino';
import type { JsonValue } from '../base/canonical-json.ts';
import { plainRedactor, type Redactor } from '../redaction/redactor.ts';

/** Lines that wait while they cannot be written; more are dropped. */
const waitingBytesMax = 256 * 1024;

/**
 * The log of one of the processes, on its standard output. Lines that cannot be written wait for room on the
 * disk and are dropped past a bound: a full disk costs lines, never the process and the sandboxes below it.
 * Secrets are taken out of each line, as they are out of events.
 */
export function openProcessLog(
  name: 'control' | 'runner' | 'gateway',
  level: string,
  redactor: Redactor = plainRedactor,
): Logger {
  const output = pino.destination({ fd: 1, sync: true, maxLength: waitingBytesMax });
  output.on('error', () => undefined);
  const hooks = { streamWrite: (line: string) => redactedLine(line, redactor) };
  return pino({ level, base: { process: name }, hooks }, output);
}

/** The line, still one of JSON; one that is none, as a text. */
export function redactedLine(line: string, redactor: Redactor): string {
  try {
    return `${JSON.stringify(redactor.document(JSON.parse(line) as JsonValue))}\n`;
  } catch {
    return `${redactor.text(line.trimEnd())}\n`;
  }
}
