import type { FaultCode } from '../contract/faults.ts';

export type FieldError = { readonly path: string; readonly message: string };

/** What can go wrong before a server answers, besides the codes that servers answer with. */
export type ClientCode = FaultCode | 'server.unreachable' | 'server.unintelligible';

/**
 * A request that did not succeed. `code` is stable; `status` is 0 when no server answered; `detail` is for
 * people and comes from the server where it answered.
 */
export class ApiError extends Error {
  readonly status: number;
  readonly code: ClientCode;
  readonly detail: string;
  readonly requestId: string | null;
  readonly errors: readonly FieldError[];
  readonly retryAfterSeconds: number | null;
  /** The whole problem document, with members that only some codes have. */
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(init: {
    status: number;
    code: ClientCode;
    detail: string;
    requestId?: string | null;
    errors?: readonly FieldError[];
    retryAfterSeconds?: number | null;
    problem?: Readonly<Record<string, unknown>>;
    cause?: unknown;
  }) {
    super(init.detail, init.cause === undefined ? undefined : { cause: init.cause });
    this.name = 'ApiError';
    this.status = init.status;
    this.code = init.code;
    this.detail = init.detail;
    this.requestId = init.requestId ?? null;
    this.errors = init.errors ?? [];
    this.retryAfterSeconds = init.retryAfterSeconds ?? null;
    this.problem = init.problem ?? {};
  }
}

/** The error that an answer of `status` stands for; `text` is its body, which need not be a problem document. */
export function errorOf(status: number, headers: Readonly<Record<string, string>>, text: string): ApiError {
  const problem = parseObject(text);
  const { code, detail, requestId, errors } = problem;
  const retryAfter = Number(headers['retry-after']);
  const shared = {
    status,
    retryAfterSeconds:
      Number.isFinite(retryAfter) && headers['retry-after'] !== undefined ? retryAfter : null,
    requestId: typeof requestId === 'string' ? requestId : (headers['x-request-id'] ?? null),
    problem,
  };
  if (typeof code !== 'string' || typeof detail !== 'string')
    return new ApiError({
      ...shared,
      code: 'server.unintelligible',
      detail: `The server answered ${status} without saying why. Is it Sealwright, and is there a proxy between?`,
    });
  return new ApiError({ ...shared, code: code as FaultCode, detail, errors: fieldErrors(errors) });
}

function fieldErrors(errors: unknown): FieldError[] {
  if (!Array.isArray(errors)) return [];
  return errors.filter(
    (error): error is FieldError => typeof error?.path === 'string' && typeof error?.message === 'string',
  );
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** What Node calls a certificate that was not accepted. */
const certificateCodes =
  /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|ALTNAME|HOSTNAME_MISMATCH|INVALID_CA/;

/** No server answered; says what to do about it. */
export function unreachable(where: string, cause: unknown): ApiError {
  const { code } = (cause ?? {}) as { code?: unknown };
  const why = typeof code === 'string' ? code : cause instanceof Error ? cause.message : 'unknown';
  const hint =
    code === 'ECONNREFUSED' || code === 'ENOENT'
      ? 'Is Sealwright running? Start it with `npm start`.'
      : code === 'EACCES'
        ? 'This user may not open it. Use an API token, or ask the machine’s owner.'
        : typeof code === 'string' && certificateCodes.test(code)
          ? 'Its certificate is not to be trusted here: name the authority that issued it, in PEM, as SEALWRIGHT_CA_FILE, or the server by a name in its certificate.'
          : 'Check the address and the network.';
  return new ApiError({
    status: 0,
    code: 'server.unreachable',
    detail: `No answer from ${where} (${why}). ${hint}`,
    cause,
  });
}
