import { cosignatureBy, mergedNote, withSignatures } from '../cosignature.ts';
import { type Answer, openHttpClient } from '../http-client.ts';
import { keyTypes, parseVerifierKey } from '../signed-note.ts';
import { retryAfterOf } from '../sinks/http-post.ts';
import { failureCode, shownReason } from '../sinks/reason.ts';
import { DroppedError } from '../stream-tree.ts';
import { witnessLimits } from './limits.ts';
import { conflict, ours } from './shelf.ts';
import type { Pushed, PushResult, Witness, WitnessParts } from './witness.ts';

/**
 * A witness that speaks https://c2sp.org/tlog-witness: it checks itself that the log only grew, and says so with its
 * signature. What it knows of a log is asked for at the first push, and remembered.
 */
export function openTlogWitness(parts: WitnessParts): Witness {
  const { settings, version, sendMs, now } = parts;
  const key = parseVerifierKey(settings.key ?? '', keyTypes.cosignature);
  if (key === null) throw new Error('a tlog witness has a key');
  const url = new URL(settings.url.slice(settings.url.indexOf('+') + 1));
  url.pathname = `${url.pathname.replace(/\/$/, '')}/add-checkpoint`;
  const protocol = url.protocol === 'http:' ? 'http:' : 'https:';
  const client = openHttpClient({ ...settings, ...witnessLimits, protocol, version, sendMs });
  const headers = { 'content-type': 'text/plain; charset=utf-8' };
  /** Sizes that it has cosigned, by origin. */
  const known = new Map<string, number>();

  async function add(pushed: Pushed, old: number, signal: AbortSignal): Promise<Answer> {
    const { checkpoint, tree } = pushed;
    const proof = await tree.consistency(old, checkpoint.size);
    const lines = [`old ${old}`, ...proof.map((node) => node.toString('base64')), '', checkpoint.note];
    return await client.exchange({ method: 'POST', url, headers, body: lines.join('\n') }, signal);
  }

  function cosigned({ checkpoint }: Pushed, { body }: Answer): PushResult {
    const note = withSignatures(checkpoint.note, body ?? '');
    const cosignature = note === null ? null : cosignatureBy(note, key!);
    if (cosignature === null) return later('its answer has no cosignature by its key');
    known.set(checkpoint.origin, checkpoint.size);
    return { kind: 'kept', cosigned: mergedNote(checkpoint.note, [cosignature.line]) };
  }

  function refused(pushed: Pushed, old: number, answer: Answer): PushResult {
    const { stream } = pushed;
    if (answer.status === 422 && old > 0)
      return conflict(`the ${old} events of ${stream} that it cosigned are not those of this log`);
    const said = shownReason(answer.body ?? '', []);
    const reason = `it answered ${answer.status}${hintOf(answer.status)}${said === null ? '' : `: ${said}`}`;
    const retryAfterMs = retryAfterOf(answer.headers['retry-after'] ?? null, now());
    return { ...later(reason), ...(retryAfterMs === null ? {} : { retryAfterMs }) };
  }

  /** Twice at most: the first answer may say from which size on it wants a proof. */
  async function push(pushed: Pushed, signal: AbortSignal): Promise<PushResult> {
    const { stream, checkpoint } = pushed;
    const { origin, size } = checkpoint;
    let old = Math.min(known.get(origin) ?? 0, size);
    for (const isLast of [false, true]) {
      const answer = await add(pushed, old, signal);
      if (answer.status === 200) return cosigned(pushed, answer);
      if (answer.status !== 409) return refused(pushed, old, answer);
      const has = sizeIn(answer);
      if (has !== null && has > size) return conflict(`it has ${has} events of ${stream}, ${ours(pushed)}`);
      if (old === size && (has === null || has === size))
        return conflict(`its ${size} events of ${stream} are not those of this log`);
      if (has === null || has === old || isLast)
        return later('it would not say from which size on it wants a proof');
      known.set(origin, has);
      old = has;
    }
    return later('it did not come to an end');
  }

  return {
    async push(pushed, signal) {
      try {
        return await push(pushed, signal);
      } catch (error) {
        if (error instanceof DroppedError)
          return later('it asks for a proof from events on that were dropped from the log');
        return later(failureCode(error));
      }
    },
    close: () => client.close(),
  };
}

/** Of an answer of 409; null where it says none. */
function sizeIn({ body }: Answer): number | null {
  return body !== null && /^(0|[1-9]\d{0,14})\n$/.test(body) ? Number(body) : null;
}

function later(reason: string): PushResult & { kind: 'later' } {
  return { kind: 'later', reason };
}

function hintOf(status: number): string {
  if (status >= 300 && status < 400) return ' (redirects are not followed)';
  if (status === 403) return ' (it does not know the key of this log: give it what `audit keys` prints)';
  return status === 404 ? ' (it does not know this log: give it what `audit keys` prints)' : '';
}
