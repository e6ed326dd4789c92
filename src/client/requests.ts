import { ApiError } from './api-error.ts';
import type { Download, Page, Query } from './client.ts';
import type { Connection } from './connection.ts';
import { clientLimits } from './limits.ts';

/** Made or replaced, whatever it was before: a change by others meanwhile is read again. */
export async function putVersion<T>(connection: Connection, path: string, body: object): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const ifMatch = await etagOf(connection, path);
    try {
      return await connection.json('PUT', path, { body, ...(ifMatch === null ? {} : { ifMatch }) });
    } catch (error) {
      const { code } = error instanceof ApiError ? error : { code: null };
      const outdated = code === 'precondition.failed' || code === 'precondition.required';
      if (!outdated || attempt >= clientLimits.renameAttempts) throw error;
    }
  }
}

/** Null where there is nothing. */
async function etagOf(connection: Connection, path: string): Promise<string | null> {
  try {
    return (await connection.tagged('GET', path)).headers.etag ?? null;
  } catch (error) {
    if (error instanceof ApiError && error.code === 'resource.absent') return null;
    throw error;
  }
}

/** Named anew, whatever the name was before. */
export async function rename<T>(connection: Connection, path: string, name: string): Promise<T> {
  return await patchVersion(connection, path, { name });
}

/** Changed, whatever it was before: a change by others meanwhile is read again. */
export async function patchVersion<T>(connection: Connection, path: string, body: object): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const { headers } = await connection.tagged('GET', path);
    try {
      return await connection.json('PATCH', path, { body, ifMatch: headers.etag ?? '' });
    } catch (error) {
      const outdated = error instanceof ApiError && error.code === 'precondition.failed';
      if (!outdated || attempt >= clientLimits.renameAttempts) throw error;
    }
  }
}

/** Every item of every page. Pages are fetched as they are needed. */
export async function* allOf<T>(
  connection: Connection,
  path: string,
  query: Query = {},
): AsyncGenerator<T, void, undefined> {
  let cursor: string | undefined;
  do {
    const asked = { limit: clientLimits.pageItems, ...query, ...(cursor === undefined ? {} : { cursor }) };
    const page: Page<T> = await connection.json('GET', path + queryText(asked));
    yield* page.items;
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
}

/** A path segment: what is in it never becomes a path of its own. */
export function part(text: string): string {
  if (text === '' || text === '.' || text === '..')
    throw new ApiError({
      status: 0,
      code: 'resource.absent',
      detail: `Nothing is named ${JSON.stringify(text)}.`,
    });
  return encodeURIComponent(text);
}

/** What follows the path; nothing where there is nothing to say. */
export function queryText(query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  return search.size === 0 ? '' : `?${search}`;
}

/** The answer's bytes as they come. */
export async function download(connection: Connection, path: string): Promise<Download> {
  const { headers, body } = await connection.send('GET', path, { accept: '*/*' });
  const length = headers['content-length'];
  return {
    mediaType: headers['content-type'] ?? 'application/octet-stream',
    bytes: length === undefined ? null : Number(length),
    body,
  };
}
