import type { FastifyContextConfig, FastifyReply, FastifyRequest } from 'fastify';
import { Fault } from '../contract/faults.ts';
import type { Caller, Control, Presented } from '../control/control.ts';
import type { Actor } from '../model/actor.ts';
import type { Upgrades } from './attach/upgrades.ts';
import { askedOf } from './context.ts';
import { sessionCookie } from './cookies.ts';
import { type CrossSite, safeMethods } from './cross-site.ts';
import type { Doors } from './doors.ts';
import { type ApiLimits, serverLimits } from './limits.ts';
import type { Proxies } from './proxies.ts';
import type { Rates } from './rates.ts';
import { answerHeaders } from './security-headers.ts';

export type Admission = (
  request: FastifyRequest,
  reply: FastifyReply,
  config: FastifyContextConfig,
) => Promise<void>;

/**
 * What stands before every handler, the one for unknown routes included (G1): a caller is identified and
 * counted before anything of the request is read or routed further. Only a route that says `open` is answered
 * without one, so no spelling of a path can go around it.
 */
export function admission(options: {
  control: Control;
  limits: ApiLimits;
  rates: Rates;
  localOwner: Actor;
  doors: Pick<Doors, 'isLocal' | 'certificateOf' | 'admitted'>;
  proxies: Proxies;
  crossSite: CrossSite;
  upgrades: Pick<Upgrades, 'offerOf'>;
}): Admission {
  const { limits, rates, proxies, doors, crossSite, upgrades } = options;
  return async (request, reply, config) => {
    reply.headers(answerHeaders(proxies.isSecure(request.raw))).header('x-request-id', request.id);
    refuseBadHost(request);
    const asked = askedOf(request, { proxies });
    refuseUrlCredentials(request);
    if (config.upgrade === true && upgrades.offerOf(request.raw) !== null)
      await admitUpgrade(request, asked, options);
    else if (config.open === true) {
      if (!doors.isLocal(request)) await rates.ofAddress(config.rate ?? 'default', asked.address);
      if (!safeMethods.has(request.method)) presentedCookie(request, options);
    } else {
      const actor = await identify(request, asked, options);
      await rates.ofActor(config.rate ?? 'default', actor.id, asked.address);
      request.caller = { actor, request: asked };
      doors.admitted(request, request.caller);
    }
    refuseBadTarget(request, limits.urlCharactersMax);
    if (!safeMethods.has(request.method)) crossSite.refuseForeignChange(request.raw);
    else refuseBody(request);
  };
}

/**
 * The actor of the bearer token, or else of the cookie; of the machine's own socket the owner, unless a token says
 * otherwise; on the listener for machines of the certificate alone. Where there is an Authorization header, no cookie
 * counts. Failures count against the address, not successes: guessing is slowed and those who hold a credential are not.
 */
async function identify(
  request: FastifyRequest,
  asked: Caller['request'],
  options: Parameters<typeof admission>[0],
): Promise<Actor> {
  const { control, rates, localOwner, doors } = options;
  const { authorization } = request.headers;
  if (authorization === undefined && doors.isLocal(request)) return localOwner;
  const presented = await counted(() => presentedBy(request, options), rates, asked);
  if (presented === null) {
    await rates.ofAddress('default', asked.address);
    throw new Fault('auth.missing', { detail: 'Send an API token as `Authorization: Bearer TOKEN`.' });
  }
  const actor = presented === 'malformed' ? null : await control.authenticate(presented, asked);
  return actor ?? (await refuseCredential(rates, asked));
}

async function refuseCredential(rates: Rates, asked: Caller['request']): Promise<never> {
  await rates.ofAddress('signIn', asked.address);
  throw new Fault('auth.invalid', {
    detail: 'The credential is not valid here: it is unknown, expired, revoked or malformed.',
  });
}

/**
 * An upgrade's ticket is looked at by its route, which uses it up; before that comes what says that a page of another
 * site has it. A machine's connection is held to its certificate all the same.
 */
async function admitUpgrade(
  request: FastifyRequest,
  asked: Caller['request'],
  { control, rates, doors, crossSite }: Parameters<typeof admission>[0],
): Promise<void> {
  await rates.ofAddress('default', asked.address);
  const certificate = doors.certificateOf(request);
  if (certificate === null && !doors.isLocal(request)) return crossSite.refuseForeignUpgrade(request.raw);
  crossSite.refusePages(request.raw);
  if (certificate === null) return;
  const actor =
    (await control.authenticate({ certificate }, asked)) ?? (await refuseCredential(rates, asked));
  doors.admitted(request, { actor, request: asked });
}

/** Whoever presents something that is not even looked up is counted like nobody. */
async function counted<T>(read: () => T, rates: Rates, asked: Caller['request']): Promise<T> {
  try {
    return read();
  } catch (refusal) {
    await rates.ofAddress('default', asked.address);
    throw refusal;
  }
}

function presentedBy(
  request: FastifyRequest,
  options: Parameters<typeof admission>[0],
): Presented | 'malformed' | null {
  const { authorization } = request.headers;
  const certificate = options.doors.certificateOf(request);
  if (certificate !== null) return presentedCertificate(request, certificate, options);
  return authorization === undefined ? presentedCookie(request, options) : presentedBearer(authorization);
}

function presentedCertificate(
  { raw, headers }: FastifyRequest,
  certificate: string,
  { crossSite }: Pick<Parameters<typeof admission>[0], 'crossSite'>,
): Presented {
  if (headers.authorization !== undefined)
    throw new Fault('request.malformed', {
      detail: 'Here the certificate says who asks: send no Authorization header, or use the other listener.',
    });
  crossSite.refusePages(raw);
  return { certificate };
}

function presentedBearer(authorization: string): Presented | 'malformed' {
  const bearer = parseBearer(authorization);
  return bearer === null ? 'malformed' : { bearer };
}

/** The cookie, once nothing speaks against that a page of this server sent it: only then is it looked up. */
function presentedCookie(
  { raw, headers }: FastifyRequest,
  { proxies, crossSite }: Pick<Parameters<typeof admission>[0], 'proxies' | 'crossSite'>,
): Presented | null {
  if (headers.authorization !== undefined) return null;
  const cookie = sessionCookie(headers.cookie, proxies.isSecure(raw));
  if (cookie === null) return null;
  crossSite.refuseForeignUse(raw);
  return { cookie };
}

/** The token of an Authorization header (RFC 6750 §2.1), or null. Says nothing about whose it is. */
export function parseBearer(header: string): string | null {
  if (header.length > serverLimits.bearerCharactersMax) return null;
  return /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(header)?.[1] ?? null;
}

const credentialNames = /[?&](access_token|token|bearer|authorization|auth|api_?key|id_token|secret)=/i;
/** The form of this product's own secrets (`identity/token-secret.ts`) of every kind, wherever in a URL they stand. */
const secretForm = /sw[a-z]?_(?:attach_)?[0-9A-Za-z_-]{36}/;

/** A token in a URL ends up in logs, histories and Referer headers, so it is refused even where it is valid. */
function refuseUrlCredentials(request: FastifyRequest): void {
  let url = request.raw.url ?? '';
  if (!url.includes('?') && !/sw[a-z]?_/.test(url)) return;
  try {
    url = decodeURIComponent(url);
  } catch {
    // Refused as malformed once the caller is known.
  }
  if (credentialNames.test(url) || secretForm.test(url))
    throw new Fault('request.malformed', {
      detail: 'Credentials are never taken from a URL: send `Authorization: Bearer TOKEN`.',
    });
}

const hostForm = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?$/;

/** One plain host, as RFC 9112 §3.2 asks of every request but those of HTTP/1.0. Two came joined by a comma. */
function refuseBadHost({ raw: { headers, httpVersion } }: FastifyRequest): void {
  const { host } = headers;
  if (host === undefined ? httpVersion === '1.0' : hostForm.test(host)) return;
  throw new Fault('request.malformed', { detail: 'A request names one host, by its header Host.' });
}

function refuseBadTarget(request: FastifyRequest, charactersMax: number): void {
  const url = request.raw.url ?? '';
  if (url.length > charactersMax)
    throw new Fault('request.url-too-long', { detail: `A URL has at most ${charactersMax} characters.` });
  if (!url.includes('%')) return;
  try {
    if (!decodeURIComponent(url).includes('\0')) return;
  } catch {
    // Falls through: not UTF-8.
  }
  throw new Fault('request.malformed', { detail: 'The URL does not decode to UTF-8 text without NUL.' });
}

/** A body where none belongs is how one request is smuggled inside another. */
function refuseBody(request: FastifyRequest): void {
  if (hasBody(request))
    throw new Fault('request.malformed', { detail: `A ${request.method} request takes no body.` });
}

export function hasBody(request: FastifyRequest): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  return encoding !== undefined || (length !== undefined && length !== '0');
}
