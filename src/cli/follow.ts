import type { LogEnd } from '../contract/schemas.ts';
import type { Api, LogEvent, LogOptions } from './api.ts';
import type { Environment } from './environment.ts';
import { type Progress, stepText } from './progress.ts';

/** Takes events one at a time; the next one is asked for when this one's bytes are gone. */
export type LogSink = (event: LogEvent) => Promise<void>;

/**
 * Reads a run's log to its end and gives it, or null when the log stops without one: the run goes on and nobody
 * asked to follow. The client resumes what is cut off, so every byte is written once.
 */
export async function followLog(
  api: Api,
  run: string,
  options: LogOptions,
  sink: LogSink,
): Promise<LogEnd | null> {
  for await (const event of api.runs.logs(run, options)) {
    await sink(event);
    if (event.event === 'end') return event.end;
  }
  return null;
}

/** Writes output as it came: stdout to stdout, stderr to stderr, byte for byte; steps and gaps to stderr. */
export function byteSink(environment: Environment, progress: Progress): LogSink {
  return async (event) => {
    if (event.event === 'step') return await progress.show(stepText(event.step));
    await progress.clear();
    if (event.event === 'stdout') await environment.stdout.write(event.bytes);
    if (event.event === 'stderr') await environment.stderr.write(event.bytes);
    if (event.event === 'dropped') {
      await environment.stderr.write(`sealwright: ${event.droppedBytes} bytes of output are not kept\n`);
    }
  };
}

/** Writes each event as one line of JSON on standard output; bytes that are not UTF-8 are `base64`. */
export function jsonSink(environment: Environment): LogSink {
  return async (event) => await writeJson(environment, jsonEvent(event));
}

export async function writeJson(environment: Environment, value: unknown): Promise<void> {
  await environment.stdout.write(`${JSON.stringify(value)}\n`);
}

function jsonEvent(event: LogEvent): Record<string, unknown> {
  if (event.event === 'end') return { event: 'end', ...event.end };
  if (event.event === 'step') return { event: 'step', step: event.step };
  if (event.event === 'dropped') return { event: 'dropped', droppedBytes: event.droppedBytes };
  const text = event.bytes.toString('utf8');
  const exact = Buffer.from(text, 'utf8').equals(event.bytes);
  return { event: event.event, ...(exact ? { text } : { base64: event.bytes.toString('base64') }) };
}
