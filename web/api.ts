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
  const request: RequestInit = { method };
  if (body !== undefined) {
    request.headers = { 'content-type': 'application/json' };
    request.body = JSON.stringify(body);
  }
  const response = await answerOf(path, request);
  const text = await response.text();
  return (text === '' ? {} : JSON.parse(text)) as T;
}

/** The answer of a route whose body is no JSON. Throws Problem. */
export async function answerOf(path: string, request: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      ...request,
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
    });
  } catch {
    throw new Problem(0, { detail: 'The server cannot be reached. Try again in a moment.' });
  }
  if (response.ok) return response;
  const text = await response.text();
  throw new Problem(response.status, text === '' ? {} : (JSON.parse(text) as Record<string, unknown>));
}

/** Whether it failed because nobody is signed in. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof Problem && error.status === 401 && error.code !== 'auth.step-up';
}
