import { Fault } from '../../contract/faults.ts';
import { identityLimits } from '../../identity/limits.ts';
import type { RegistrationAnswer } from '../../identity/passkeys.ts';
import { newRecoveryCodes, recoveryCodeHash } from '../../identity/recovery-codes.ts';
import { secretHash } from '../../identity/token-secret.ts';
import { newTotp, type TotpEnrollment, totpPurpose, totpStep } from '../../identity/totp.ts';
import type { PasskeyRecord, UserRecord } from '../../store/identity-store.ts';
import type { SignInParts } from './sign-in-parts.ts';

/** A user's second factors: what account, sign-in and step-up do with them, without any decision. */

const enrollmentKey = (name: string) => secretHash(`totp-enrollment ${name}`);

/** A new secret that counts for nothing before a code of it was shown; the latest one alone can be confirmed. */
export async function beginTotp(
  { store, clock, sealing, signInConfig }: SignInParts,
  name: string,
): Promise<TotpEnrollment> {
  const enrollment = newTotp(name, new URL(signInConfig.publicUrl).host);
  const { oneTimes } = store.identity;
  const now = clock.now();
  await oneTimes.take('challenge', enrollmentKey(name), now);
  const sealed = sealing.seal(totpPurpose(name), enrollment.secret);
  if (!(await oneTimes.put('challenge', enrollmentKey(name), sealed, now + identityLimits.enrollmentMs)))
    throw new Fault('state.conflict', {
      detail: 'An authenticator is being enrolled already. Begin once more.',
    });
  return enrollment;
}

/** False where the code is not of the secret that was begun. The user's other second factors stay. */
export async function confirmTotp(
  { store, clock, sealing, changes }: SignInParts,
  name: string,
  code: string,
): Promise<boolean> {
  const { oneTimes, users } = store.identity;
  const now = clock.now();
  const sealed = (await oneTimes.peek('challenge', enrollmentKey(name), now)) as string | null;
  if (sealed === null) return false;
  const step = totpStep(sealing.unseal(totpPurpose(name), sealed), code, now);
  if (step === null) return false;
  if ((await oneTimes.take('challenge', enrollmentKey(name), now)) === null) return false;
  const written = await users.update(name, { totpSealed: sealed }, null);
  if (written.outcome !== 'written') return false;
  await users.takeTotpStep(name, step);
  await changes.look();
  return true;
}

/** Whether it is a code of the user's authenticator that nobody has used yet. */
export async function takeTotpCode(
  { store, clock, sealing }: SignInParts,
  { name, totpSealed }: UserRecord,
  code: string,
): Promise<boolean> {
  if (totpSealed === null) return false;
  const step = totpStep(sealing.unseal(totpPurpose(name), totpSealed), code, clock.now());
  return step !== null && (await store.identity.users.takeTotpStep(name, step));
}

/** New ones in place of all there were; shown this once. */
export async function renewRecoveryCodes({ store }: SignInParts, name: string): Promise<readonly string[]> {
  const codes = newRecoveryCodes();
  await store.identity.users.putRecoveryCodes(name, codes.map(recoveryCodeHash));
  return codes;
}

/** Whoever enrolls a first second factor needs a way back; undefined where there are codes already. */
export async function firstRecoveryCodes(
  parts: SignInParts,
  name: string,
): Promise<readonly string[] | undefined> {
  const left = await parts.store.identity.users.recoveryCodesLeft(name);
  return left > 0 ? undefined : await renewRecoveryCodes(parts, name);
}

/** Null where the answer proves nothing. Throws Fault `quota.exceeded`. */
export async function addPasskey(
  { store, passkeys }: SignInParts,
  user: Pick<UserRecord, 'name' | 'displayName'>,
  label: string,
  answer: RegistrationAnswer,
): Promise<PasskeyRecord | null> {
  const { passkeysPerUserMax } = identityLimits;
  if ((await store.identity.passkeys.of(user.name)).length >= passkeysPerUserMax)
    throw new Fault('quota.exceeded', {
      detail: `You have ${passkeysPerUserMax} passkeys, which is the most. Remove one first.`,
    });
  return await passkeys.register(user, label, answer);
}

/** Where there can be no passkeys, it is said why and what to do. */
export function requirePasskeys({ passkeys }: Pick<SignInParts, 'passkeys'>): void {
  if (passkeys.domain !== null) return;
  throw new Fault('state.conflict', {
    detail:
      'Passkeys belong to a domain, and publicUrl names an address. Set it to a name, such as localhost.',
  });
}
