import { STATUS_CODES } from 'node:http';
import type { core } from 'zod';
import { Fault, type FaultCode, faultTable } from '../contract/faults.ts';
import type { Problem } from '../contract/schemas.ts';
import { serverLimits } from './limits.ts';
import { answerHeaders } from './security-headers.ts';

/** Input that does not fit its schema; `validationContext` is set by fastify: body, querystring or params. */
export class InvalidInput extends Error {
  readonly issues: readonly core.$ZodIssue[];
  validationContext?: string;

  constructor(issues: readonly core.$ZodIssue[]) {
    super('input does not fit its schema');
    this.name = 'InvalidInput';
    this.issues = issues;
  }
}

export type ProblemAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Problem & Readonly<Record<string, unknown>>;
  /** Whether the log must hear of it with its stack: nothing that a caller did. */
  readonly unexpected: boolean;
};

export const problemMediaType = 'application/problem+json';

/**
 * The one place where a failure becomes an answer (RFC 9457). A Fault speaks for itself; framework and
 * validation errors are translated; anything else is `internal`, and nothing of it reaches the caller.
 */
export function problemOf(error: unknown, requestId: string): ProblemAnswer {
  const fault = asFault(error);
  const [status, title] = faultTable[fault.code];
  return {
    status,
    headers: headersOf(fault),
    unexpected: fault.code === 'internal',
    body: {
      ...fault.extra,
      type: `urn:sealwright:problem:${fault.code}`,
      title,
      status,
      code: fault.code,
      detail: fault.detail,
      requestId,
    },
  };
}

/** The same answer as bytes of a whole HTTP/1.1 response, for a connection that never became a request. */
export function rawProblem(
  { code, detail }: { readonly code: FaultCode; readonly detail: string },
  { requestId, isSecure }: { readonly requestId: string; readonly isSecure: boolean },
): string {
  const { status, body } = problemOf(new Fault(code, { detail }), requestId);
  const text = JSON.stringify(body);
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}`,
    `Content-Type: ${problemMediaType}`,
    `Content-Length: ${Buffer.byteLength(text)}`,
    `X-Request-Id: ${requestId}`,
    ...Object.entries(answerHeaders(isSecure)).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
    '',
    text,
  ].join('\r\n');
}

function headersOf(fault: Fault): Record<string, string> {
  if (fault.code === 'auth.missing') return { 'www-authenticate': 'Bearer realm="sealwright"' };
  if (fault.code === 'auth.invalid')
    return { 'www-authenticate': 'Bearer realm="sealwright", error="invalid_token"' };
  if (fault.code === 'auth.step-up')
    return {
      'www-authenticate': `Bearer realm="sealwright", error="insufficient_user_authentication", max_age="${fault.extra.maxAgeSeconds}"`,
    };
  if (fault.code === 'request.upgrade') return { upgrade: 'websocket', 'sec-websocket-version': '13' };
  const { allow, retryAfterSeconds } = fault.extra;
  if (fault.code === 'request.method' && Array.isArray(allow)) return { allow: allow.join(', ') };
  if (typeof retryAfterSeconds === 'number') return { 'retry-after': String(Math.ceil(retryAfterSeconds)) };
  return fault.status === 503 ? { 'retry-after': '1' } : {};
}

function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  if (error instanceof InvalidInput) return invalid(error);
  const { code, statusCode } = (error ?? {}) as { code?: unknown; statusCode?: unknown };
  const known = typeof code === 'string' ? frameworkFaults[code] : undefined;
  if (known !== undefined) return new Fault(known[0], { detail: known[1], cause: error });
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return new Fault('request.malformed', { detail: 'The request could not be read.', cause: error });
  return new Fault('internal', {
    detail: 'Something failed inside Sealwright. Its log names the cause under this request id.',
    message: error instanceof Error ? error.message : String(error),
    cause: error,
  });
}

const frameworkFaults: Readonly<Record<string, readonly [FaultCode, string]>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'request.media-type',
    'Send the content type that the route documents, such as application/json.',
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    'request.malformed',
    'The body is not as long as Content-Length says.',
  ],
  FST_ERR_CTP_BODY_TOO_LARGE: ['request.too-large', 'The body is larger than the route takes.'],
  FST_ERR_BAD_URL: ['request.malformed', 'The URL holds a percent sign that starts no valid UTF-8 escape.'],
  FST_ERR_MAX_PARAM_LENGTH: ['request.url-too-long', 'A part of the URL is too long.'],
  FST_ERR_NOT_FOUND: ['route.absent', 'There is no such route.'],
};

const places: Readonly<Record<string, string>> = { body: 'body', querystring: 'query', params: 'path' };

function invalid(error: InvalidInput): Fault {
  const place = places[error.validationContext ?? 'body'] ?? 'body';
  if (place === 'path')
    return new Fault('resource.absent', { detail: 'No such resource, or you may not see it.' });
  const errors = error.issues.flatMap(spread).slice(0, serverLimits.validationIssuesMax);
  const first = errors[0];
  const where = first === undefined || first.path === '' ? `the ${place}` : `${place} ${first.path}`;
  return new Fault('request.invalid', {
    detail: first === undefined ? `The ${place} does not fit its schema.` : `In ${where}: ${first.message}`,
    extra: { in: place, errors },
  });
}

type Issue = { readonly path: string; readonly message: string };

/** One line an issue, and one for each unknown field; paths are JSON pointers (RFC 6901). */
function spread(issue: core.$ZodIssue): Issue[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      path: pointer([...issue.path, key]),
      message: 'is not a known field',
    }));
  return [{ path: pointer(issue.path), message: issue.message }];
}

function pointer(path: readonly PropertyKey[]): string {
  return path
    .map((part) => `/${String(part).slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}
