import { hash } from 'node:crypto';
import { type Answer, type HttpClient, openHttpClient } from '../http-client.ts';
import { shownReason } from '../sinks/reason.ts';
import { witnessLimits } from './limits.ts';
import { type Shelf, ShelfTrouble, shelfWitness, sizeName } from './shelf.ts';
import { pathOfKey, queryText, type SigningKey, signedHeaders } from './sigv4.ts';
import type { Witness, WitnessParts } from './witness.ts';

const dayMs = 86_400_000;

/**
 * A bucket that speaks S3: `<prefix>/<stream>/<size>.checkpoint`, each object made with `If-None-Match: *` and, with
 * `retainDays`, under compliance lock. Needs PutObject, GetObject and ListBucket, and no right to remove anything.
 */
export function openS3Witness(parts: WitnessParts): Witness {
  return shelfWitness(new S3Shelf(parts));
}

type Asked = {
  readonly method: 'GET' | 'PUT';
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
};

class S3Shelf implements Shelf {
  readonly #client: HttpClient;
  readonly #endpoint: URL;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #key: SigningKey;
  readonly #retainMs: number | null;
  readonly #now: () => number;

  constructor({ settings, version, sendMs, now }: WitnessParts) {
    const { region = '', accessKeyId = '', secret, retainDays, endpoint } = settings;
    const [bucket = '', ...prefix] = settings.url.slice('s3://'.length).replace(/\/$/, '').split('/');
    this.#endpoint = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
    const protocol = this.#endpoint.protocol === 'http:' ? 'http:' : 'https:';
    this.#client = openHttpClient({ ...settings, ...witnessLimits, protocol, version, sendMs });
    this.#bucket = bucket;
    this.#prefix = prefix.map((part) => `${part}/`).join('');
    this.#key = { accessKeyId, secret: secret ?? '', region };
    this.#retainMs = retainDays === undefined ? null : retainDays * dayMs;
    this.#now = now;
  }

  async firstAfter(stream: string, after: number, signal: AbortSignal): Promise<number | null> {
    const folder = `${this.#prefix}${stream}/`;
    const query = {
      'list-type': '2',
      'max-keys': '1',
      prefix: folder,
      'start-after': this.#keyOf(stream, after),
    };
    const answer = await this.#ask({ method: 'GET', key: '', query }, signal);
    if (answer.status !== 200 || answer.body === null) throw this.#trouble('list the bucket', answer);
    const keys = [...answer.body.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key]) => key!);
    if (keys.length === 0 && answer.body.includes('<ListBucketResult')) return null;
    const size = this.#sizeOf(keys[0] ?? '', folder);
    if (size === null || size <= after)
      throw new ShelfTrouble('its list has something else than checkpoints: look at the prefix');
    return size;
  }

  async read(stream: string, size: number, signal: AbortSignal): Promise<string | null> {
    const answer = await this.#ask({ method: 'GET', key: this.#keyOf(stream, size) }, signal);
    if (answer.status === 404) return null;
    if (answer.status !== 200 || answer.body === null) throw this.#trouble('read a checkpoint', answer);
    return answer.body;
  }

  async keep(stream: string, size: number, note: string, signal: AbortSignal): Promise<boolean> {
    const headers = {
      'content-type': 'text/plain; charset=utf-8',
      'if-none-match': '*',
      'x-amz-checksum-sha256': hash('sha256', note, 'base64'),
      ...this.#lock(),
    };
    const key = this.#keyOf(stream, size);
    const answer = await this.#ask({ method: 'PUT', key, headers, body: note }, signal);
    if (answer.status === 412) return false;
    if (answer.status !== 200) throw this.#trouble('keep a checkpoint', answer);
    return true;
  }

  close(): void {
    this.#client.close();
  }

  #keyOf(stream: string, size: number): string {
    return `${this.#prefix}${stream}/${sizeName(size)}.checkpoint`;
  }

  #sizeOf(key: string, folder: string): number | null {
    const digits = key.startsWith(folder) ? /^(\d{16})\.checkpoint$/.exec(key.slice(folder.length)) : null;
    return digits === null ? null : Number(digits[1]);
  }

  #lock(): Record<string, string> {
    if (this.#retainMs === null) return {};
    return {
      'x-amz-object-lock-mode': 'COMPLIANCE',
      'x-amz-object-lock-retain-until-date': new Date(this.#now() + this.#retainMs).toISOString(),
    };
  }

  async #ask({ method, key, query = {}, headers = {}, body }: Asked, signal: AbortSignal): Promise<Answer> {
    const path = pathOfKey(`/${this.#bucket}/${key}`.replace(/\/$/, ''));
    const host = this.#endpoint.host;
    const payload = body ?? '';
    const signed = signedHeaders({ method, host, path, query, headers, payload }, this.#key, this.#now());
    const search = queryText(query);
    const url = new URL(`${path}${search === '' ? '' : `?${search}`}`, this.#endpoint);
    const request = { method, url, headers: signed, ...(body === undefined ? {} : { body }) };
    return await this.#client.exchange(request, signal);
  }

  /** The code that S3 gives in XML says more than the status. */
  #trouble(what: string, { status, body }: Answer): ShelfTrouble {
    const code = /<Code>([A-Za-z]{1,64})<\/Code>/.exec(body ?? '')?.[1];
    const said = code ?? shownReason(body ?? '', [this.#key.secret]);
    return new ShelfTrouble(`it would not ${what}: it answered ${status}${said === null ? '' : ` ${said}`}`);
  }
}
