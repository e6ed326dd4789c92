import { cosignatureBy, mergedNote, withSignatures } from '../cosignature.ts';
import { type Answer, type HttpClient, openHttpClient } from '../http-client.ts';
import { keyTypes, parseVerifierKey, type VerifierKey } from '../signed-note.ts';
import { retryAfterOf } from '../sinks/http-post.ts';
import { failureCode, shownReason } from '../sinks/reason.ts';
import { DroppedError } from '../stream-tree.ts';
import { witnessLimits } from './limits.ts';
import { conflict, ours } from './shelf.ts';
import type { Pushed, PushResult, Witness, WitnessParts } from './witness.ts';

/** What a witness says with its signature: it speaks https://c2sp.org/tlog-witness. */
export function openTlogWitness(parts: WitnessParts): Witness {
  return new TlogWitness(parts);
}

const headers = { 'content-type': 'text/plain; charset=utf-8' };

/**
 * The witness checks itself that the log only grew. What it knows of a log is asked for at the first push, and remembered.
 */
class TlogWitness implements Witness {
  readonly #key: VerifierKey;
  readonly #url: URL;
  readonly #client: HttpClient;
  readonly #now: () => number;
  /** Sizes that it has cosigned, by origin. */
  readonly #known = new Map<string, number>();

  constructor({ settings, version, sendMs, now }: WitnessParts) {
    const key = parseVerifierKey(settings.key ?? '', keyTypes.cosignature);
    if (key === null) throw new Error('a tlog witness has a key');
    this.#key = key;
    this.#url = new URL(settings.url.slice(settings.url.indexOf('+') + 1));
    this.#url.pathname = `${this.#url.pathname.replace(/\/$/, '')}/add-checkpoint`;
    const protocol = this.#url.protocol === 'http:' ? 'http:' : 'https:';
    this.#client = openHttpClient({ ...settings, ...witnessLimits, protocol, version, sendMs });
    this.#now = now;
  }

  async push(pushed: Pushed, signal: AbortSignal): Promise<PushResult> {
    try {
      return await this.#push(pushed, signal);
    } catch (error) {
      if (error instanceof DroppedError)
        return later('it asks for a proof from events on that were dropped from the log');
      return later(failureCode(error));
    }
  }

  close(): void {
    this.#client.close();
  }

  /** Twice at most: the first answer may say from which size on it wants a proof. */
  async #push(pushed: Pushed, signal: AbortSignal): Promise<PushResult> {
    const { origin, size } = pushed.checkpoint;
    const old = Math.min(this.#known.get(origin) ?? 0, size);
    const first = await this.#add(pushed, old, signal);
    if (first.status !== 409) return this.#judge(pushed, old, first);
    const has = sizeIn(first);
    const against = contradiction(pushed, old, has);
    if (against !== null) return against;
    if (has === null || has === old) return unwilling;
    this.#known.set(origin, has);
    const second = await this.#add(pushed, has, signal);
    if (second.status !== 409) return this.#judge(pushed, has, second);
    return contradiction(pushed, has, sizeIn(second)) ?? unwilling;
  }

  async #add({ checkpoint, tree }: Pushed, old: number, signal: AbortSignal): Promise<Answer> {
    const proof = await tree.consistency(old, checkpoint.size);
    const lines = [`old ${old}`, ...proof.map((node) => node.toString('base64')), '', checkpoint.note];
    const request = { method: 'POST', url: this.#url, headers, body: lines.join('\n') } as const;
    return await this.#client.exchange(request, signal);
  }

  /** Any answer but 409. */
  #judge({ stream, checkpoint }: Pushed, old: number, answer: Answer): PushResult {
    const { status, body } = answer;
    if (status === 200) return this.#cosigned(checkpoint, body ?? '');
    if (status === 422 && old > 0)
      return conflict(`the ${old} events of ${stream} that it cosigned are not those of this log`);
    const said = shownReason(body ?? '', []);
    const reason = `it answered ${status}${hintOf(status)}${said === null ? '' : `: ${said}`}`;
    const retryAfterMs = retryAfterOf(answer.headers['retry-after'] ?? null, this.#now());
    return { ...later(reason), ...(retryAfterMs === null ? {} : { retryAfterMs }) };
  }

  #cosigned({ origin, size, note }: Pushed['checkpoint'], lines: string): PushResult {
    const all = withSignatures(note, lines);
    const cosignature = all === null ? null : cosignatureBy(all, this.#key);
    if (cosignature === null) return later('its answer has no cosignature by its key');
    this.#known.set(origin, size);
    return { kind: 'kept', cosigned: mergedNote(note, [cosignature.line]) };
  }
}

const unwilling = later('it would not say from which size on it wants a proof');

/** What an answer of 409 says against the log: `old` was sent, and it says that it has `has`; null where that is nothing. */
function contradiction(pushed: Pushed, old: number, has: number | null): PushResult | null {
  const { stream, checkpoint } = pushed;
  const { size } = checkpoint;
  if (has !== null && has > size) return conflict(`it has ${has} events of ${stream}, ${ours(pushed)}`);
  const isSame = old === size && (has === null || has === size);
  return isSame ? conflict(`its ${size} events of ${stream} are not those of this log`) : null;
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
