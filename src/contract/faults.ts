/**
 * Every error a caller can meet, by stable code. RFC 9457 problem details are made from this table in one
 * place (`server/problem.ts`), so a code's status and title never differ between routes.
 */
export const faultTable = {
  'request.malformed': [400, 'The request is not well formed'],
  'request.invalid': [400, 'The request does not fit its schema'],
  'auth.missing': [401, 'Authentication is required'],
  'auth.invalid': [401, 'The credentials were not accepted'],
  'auth.step-up': [401, 'You have to prove again who you are'],
  'access.denied': [403, 'Not allowed'],
  'feature.off': [403, 'The feature is off'],
  'resource.absent': [404, 'No such resource'],
  'route.absent': [404, 'No such route'],
  'request.method': [405, 'The route does not take this method'],
  'request.not-acceptable': [406, 'None of the accepted media types is on offer'],
  'state.conflict': [409, 'The resource is not in a state that allows this'],
  'idempotency.conflict': [409, 'The idempotency key was used for another request'],
  'precondition.failed': [412, 'The resource changed since it was read'],
  'request.too-large': [413, 'The request is too large'],
  'request.url-too-long': [414, 'The request URL is too long'],
  'request.media-type': [415, 'The request has the wrong content type'],
  'request.upgrade': [426, 'The route speaks another protocol'],
  'precondition.required': [428, 'An If-Match header is required'],
  'rate.exceeded': [429, 'Too many requests'],
  'auth.locked': [429, 'Too many failures; wait before the next try'],
  'quota.exceeded': [429, 'A quota is used up'],
  'request.headers-too-large': [431, 'The request headers are too large'],
  'request.timeout': [408, 'The request took too long to arrive'],
  internal: [500, 'Something went wrong inside'],
  'auth.busy': [503, 'Too many sign-ins wait for their turn'],
  'audit.unavailable': [503, 'The audit log cannot be written, so nothing was done'],
  'audit.index-behind': [503, 'The search index of the audit log is behind'],
  'store.unavailable': [503, 'The store cannot be reached'],
  'runner.unavailable': [503, 'The runner cannot be reached'],
  'sandbox.unavailable': [503, 'A protection of the sandbox could not be set up'],
  'storage.full': [507, 'The disk is full'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type FaultCode = keyof typeof faultTable;

export type FaultOptions = {
  /** For the caller: what is wrong and what to do. Never holds a secret, a path of the host or another's data. */
  detail: string;
  /** For the log; the detail where absent. */
  message?: string;
  /** Extra members of the problem document, such as `retryAfterSeconds` or `required`. */
  extra?: Readonly<Record<string, unknown>>;
  cause?: unknown;
};

/** A failure with a stable code. A denial is returned, never thrown; a bug is asserted. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly detail: string;
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: FaultCode, options: FaultOptions) {
    super(
      options.message ?? options.detail,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'Fault';
    this.code = code;
    this.detail = options.detail;
    this.extra = options.extra ?? {};
  }

  get status(): number {
    return faultTable[this.code][0];
  }
}

/** The same failure whatever the caller may not see: foreign and absent answer alike (G2). */
export function absent(kind: string): Fault {
  return new Fault('resource.absent', { detail: `No such ${kind}, or you may not see it.` });
}
