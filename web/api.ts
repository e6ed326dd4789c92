/** What the server said instead of doing it (RFC 9457). */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  /** What is wrong with single fields, by their JSON pointers. */
  readonly errors: readonly { readonly path: string; readonly message: string }[];

  constructor(status: number, body: Record<string, unknown>) {
    const { code, detail, errors } = body;
    super(typeof detail === 'string' ? detail : 'The server did not answer as it should. Try again.');
    this.status = status;
    this.code = typeof code === 'string' ? code : '';
    this.errors = Array.isArray(errors) ? errors : [];
  }
}

/** Calls a documented route of this very server; the browser adds the cookie. Throws Problem. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const request: RequestInit = { method, credentials: 'same-origin', cache: 'no-store', redirect: 'error' };
  if (body !== undefined) {
    request.headers = { 'content-type': 'application/json' };
    request.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Problem(0, { detail: 'The server cannot be reached. Try again in a moment.' });
  }
  const text = await response.text();
  const answer: unknown = text === '' ? {} : JSON.parse(text);
  if (!response.ok) throw new Problem(response.status, answer as Record<string, unknown>);
  return answer as T;
}

/** Whether it failed because nobody is signed in. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof Problem && error.status === 401 && error.code !== 'auth.step-up';
}
