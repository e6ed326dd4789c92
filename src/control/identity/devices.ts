import { randomBytes, randomInt } from 'node:crypto';
import { Fault } from '../../contract/faults.ts';
import {
  commandLineClient,
  type DeviceAnswer,
  grantTypes,
  OAuthFault,
  type TokenAnswer,
} from '../../contract/oauth.ts';
import type { DeviceView } from '../../contract/oauth-schemas.ts';
import { secretHash } from '../../identity/token-secret.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';
import type { Act } from '../gate.ts';
import { timeText } from '../views.ts';
import { type Approval, approvalBy, refuseEnded } from './approvals.ts';
import { openAndIssue } from './issuing.ts';
import { oauthLimits } from './limits.ts';
import type { Asked } from './oauth-clients.ts';
import { askedScopes, required } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/** A device that waits for a person elsewhere (RFC 8628). */
type Device = {
  readonly scopes: readonly GrantableScope[] | null;
  readonly address: string | null;
  readonly userAgent: string | null;
  readonly askedAt: number;
  readonly expiresAt: number;
  /** When it may ask again, and how long it waits after that. */
  readonly notBefore: number;
  readonly intervalMs: number;
  readonly answer: null | 'denied' | Approval;
};

const codePrefix = 'swd_';
/** Without vowels, so that no code is a word (RFC 8628 §6.1). */
const alphabet = 'BCDFGHJKLMNPQRSTVWXZ';
const userCodeLength = 8;

/** `/oauth2/device_authorization`. The address and scopes are kept to be shown to whoever approves. */
export async function authorizeDevice(
  { store, accessTokens, clock }: Pick<OAuthParts, 'store' | 'accessTokens' | 'clock'>,
  { form, request }: Pick<Asked, 'form' | 'request'>,
): Promise<DeviceAnswer> {
  const { deviceCodeMs, devicePollMs } = oauthLimits;
  const now = clock.now();
  const expiresAt = now + deviceCodeMs;
  const code = codePrefix + randomBytes(32).toString('base64url');
  const hash = secretHash(code);
  const device: Device = {
    scopes: askedScopes(form),
    address: request.address,
    userAgent: request.userAgent,
    askedAt: now,
    expiresAt,
    notBefore: now,
    intervalMs: devicePollMs,
    answer: null,
  };
  let userCode = newUserCode();
  while (!(await store.oneTimes.put('user-code', secretHash(userCode), { device: hash }, expiresAt)))
    userCode = newUserCode();
  await store.oneTimes.put('device-code', hash, device, expiresAt);
  const shown = `${userCode.slice(0, 4)}-${userCode.slice(4)}`;
  const page = `${accessTokens.issuer}/device`;
  return {
    device_code: code,
    user_code: shown,
    verification_uri: page,
    verification_uri_complete: `${page}#${shown}`,
    expires_in: deviceCodeMs / 1000,
    interval: devicePollMs / 1000,
  };
}

/** Grant `device_code`: what the device hears while it waits, and once a person answered. */
export async function pollDevice(parts: OAuthParts, { form, request }: Asked): Promise<TokenAnswer> {
  const { store, clock } = parts;
  const hash = secretHash(required(form, 'device_code'));
  const now = clock.now();
  const device = (await store.oneTimes.peek('device-code', hash, now)) as Device | null;
  if (device === null)
    throw new OAuthFault('expired_token', 'The code is unknown, used or too old. Begin again.');
  if (device.answer === null) throw await tooEarly(parts, hash, device);
  const taken = (await store.oneTimes.take('device-code', hash, now)) as Device | null;
  if (taken === null) throw new OAuthFault('expired_token', 'The code was used.');
  if (taken.answer === null || taken.answer === 'denied')
    throw new OAuthFault('access_denied', 'The person refused.');
  const approval = taken.answer;
  const { actor, proof } = approval;
  const { address, userAgent } = request;
  const { answer } = await openAndIssue(
    parts,
    {
      ...{ actor, proof, scopes: taken.scopes, address, userAgent },
      client: commandLineClient,
      reach: null,
      refreshable: true,
    },
    {
      ...{ action: 'sign-in.program', grant: grantTypes.deviceCode, request },
      data: { askedFrom: taken.address },
      still: () => refuseEnded(parts, approval),
    },
  );
  return answer;
}

/** The device that a user code stands for, for a person to look at before saying yes. */
export async function findDevice(parts: OAuthParts, caller: Caller, userCode: string): Promise<DeviceView> {
  const act = actOf(caller);
  await parts.gate.read(caller, act);
  return viewOf((await deviceOf(parts, caller, act, userCode)).device);
}

/** Lets the device in as the caller, as freshly and strongly as the caller proved itself; or refuses it. Once. */
export async function answerDevice(
  parts: OAuthParts,
  caller: Caller,
  { userCode, decision }: { userCode: string; decision: 'approve' | 'deny' },
): Promise<void> {
  const { gate, store, clock } = parts;
  const act = actOf(caller);
  await gate.read(caller, act);
  const { device, hash, userHash } = await deviceOf(parts, caller, act, userCode);
  const { address, scopes } = device;
  const data = { decision, device: address, scopes: scopes === null ? null : [...scopes] };
  const answer = decision === 'deny' ? 'denied' : await approvalBy(parts, caller, act);
  await gate.act(caller, { ...act, data }, async () => {
    const now = clock.now();
    if ((await store.oneTimes.take('user-code', userHash, now)) === null) throw unknownCode();
    await settle(parts, hash, answer);
  });
}

/** A device that polls changes its record meanwhile, so the answer is tried again on what is there then. */
async function settle({ store, clock }: OAuthParts, hash: string, answer: Device['answer']): Promise<void> {
  for (;;) {
    const now = clock.now();
    const device = (await store.oneTimes.peek('device-code', hash, now)) as Device | null;
    if (device === null || device.answer !== null) throw unknownCode();
    if (await store.oneTimes.replace('device-code', hash, device, { ...device, answer }, now)) return;
  }
}

async function tooEarly({ store, clock }: OAuthParts, hash: string, device: Device): Promise<OAuthFault> {
  const now = clock.now();
  const isEarly = now < device.notBefore;
  const intervalMs = device.intervalMs + (isEarly ? oauthLimits.deviceSlowDownMs : 0);
  const next: Device = { ...device, intervalMs, notBefore: now + intervalMs };
  // Where it was answered meanwhile, the next poll hears of it.
  await store.oneTimes.replace('device-code', hash, device, next, now);
  return isEarly
    ? new OAuthFault('slow_down', `Ask every ${intervalMs / 1000} s at most.`)
    : new OAuthFault('authorization_pending', 'The person has not answered yet.');
}

/** Guesses are counted for each person, on every process together. */
async function deviceOf({ store, gate, clock }: OAuthParts, caller: Caller, act: Act, userCode: string) {
  const now = clock.now();
  const key = `device-code ${caller.actor.id}`;
  const { deviceGuessesMax, deviceGuessWindowMs } = oauthLimits;
  const { count, endsAt } = await store.attempts.count(key, now);
  if (count >= deviceGuessesMax)
    throw new Fault('rate.exceeded', {
      detail: 'Too many codes were wrong. Wait, then begin again on the device.',
      extra: { retryAfterSeconds: Math.max(1, Math.ceil((endsAt - now) / 1000)) },
    });
  const userHash = secretHash(plainUserCode(userCode));
  const named = (await store.oneTimes.peek('user-code', userHash, now)) as { device: string } | null;
  const device =
    named === null ? null : ((await store.oneTimes.peek('device-code', named.device, now)) as Device | null);
  if (named !== null && device !== null) return { device, hash: named.device, userHash };
  await store.attempts.add(key, deviceGuessWindowMs, now);
  gate.note({
    action: act.action,
    actor: caller.actor,
    resource: act.resource,
    outcome: 'denied',
    rule: 'user-code:unknown',
    request: caller.request,
    countAs: 'user-code',
  });
  throw unknownCode();
}

function actOf({ actor }: Caller): Act {
  return { action: 'account.device.approve', resource: { kind: 'account', owner: actor.id } };
}

function unknownCode(): Fault {
  return new Fault('resource.absent', {
    detail: 'No device waits with this code. Check it, or begin again on the device.',
  });
}

function newUserCode(): string {
  let code = '';
  for (let index = 0; index < userCodeLength; index += 1) code += alphabet[randomInt(alphabet.length)];
  return code;
}

/** As a person may write it: in lower case, with any or no separators. */
function plainUserCode(text: string): string {
  return text.toUpperCase().replaceAll(/[^A-Z]/g, '');
}

function viewOf({ scopes, address, userAgent, askedAt, expiresAt }: Device): DeviceView {
  return {
    client: commandLineClient,
    address,
    userAgent,
    scopes: scopes === null ? null : [...scopes],
    askedAt: timeText(askedAt),
    expiresAt: timeText(expiresAt),
  };
}
