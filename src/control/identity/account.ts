import type {
  AccountView,
  AddPasskey,
  ChangePassword,
  Enrolled,
  PasskeyView,
  RecoveryCodes,
  SignInView,
} from '../../contract/account-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { PasskeyOptions, TotpEnrollmentView } from '../../contract/sign-in-schemas.ts';
import type { ActionName } from '../../model/actions.ts';
import type { SignInId } from '../../model/ids.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import type { Caller, Page, PageRequest } from '../control.ts';
import type { Act } from '../gate.ts';
import { storePage, viewPage } from '../paging.ts';
import { passkeyView, signInView, timeOrNull, timeText } from './account-views.ts';
import {
  addPasskey,
  beginTotp,
  confirmTotp,
  firstRecoveryCodes,
  renewRecoveryCodes,
  requirePasskeys,
} from './authenticators.ts';
import { demandsMfa, factorsOf } from './completion.ts';
import { refuseUnfit } from './password-choice.ts';
import { registrationAnswer } from './sign-in.ts';
import type { SignInParts } from './sign-in-parts.ts';
import { notedLockout, refusedSignIn, refuseLocal } from './sign-in-refusals.ts';
import { ownSignIn } from './step-up.ts';

/** What people do with their own account. Each is for a person who signed in, never for a token. */
export type AccountUseCases = {
  read(caller: Caller): Promise<AccountView>;
  /** Ends all other sign-ins of the user. */
  changePassword(caller: Caller, given: ChangePassword): Promise<void>;
  /** A secret that counts for nothing before it is confirmed with a code. */
  beginTotp(caller: Caller): Promise<TotpEnrollmentView>;
  confirmTotp(caller: Caller, code: string): Promise<Enrolled>;
  removeTotp(caller: Caller): Promise<void>;
  passkeyOptions(caller: Caller): Promise<PasskeyOptions>;
  addPasskey(caller: Caller, given: AddPasskey): Promise<PasskeyView & Enrolled>;
  removePasskey(caller: Caller, id: string): Promise<void>;
  /** In place of all there were. */
  renewRecoveryCodes(caller: Caller): Promise<RecoveryCodes>;
  signIns(caller: Caller, query: PageRequest): Promise<Page<SignInView>>;
  /** Containment, as the next. */
  endSignIn(caller: Caller, id: SignInId): Promise<void>;
  /** All but the one that asks; with `everywhere` that one too. How many ended. */
  endSignIns(caller: Caller, options: { everywhere: boolean }): Promise<number>;
};

export function accountUseCases(parts: SignInParts): AccountUseCases {
  const { gate } = parts;
  return {
    read: (caller) => read(parts, caller),
    changePassword: (caller, given) => changePassword(parts, caller, given),
    beginTotp: (caller) =>
      gate.act(caller, ownAct(caller, 'account.mfa.enroll', { factor: 'totp', phase: 'begin' }), async () => {
        refuseLocal(parts);
        return await beginTotp(parts, (await ownUser(parts, caller)).name);
      }),
    confirmTotp: (caller, code) =>
      gate.act(caller, ownAct(caller, 'account.mfa.enroll', { factor: 'totp' }), async () => {
        const { name } = await ownUser(parts, caller);
        if (!(await confirmTotp(parts, name, code)))
          throw new Fault('state.conflict', {
            detail:
              'The code is not of the secret that was shown last. Take the next one, or begin once more.',
          });
        return enrolled(await firstRecoveryCodes(parts, name));
      }),
    removeTotp: (caller) => removeTotp(parts, caller),
    passkeyOptions: async (caller) => {
      refuseLocal(parts);
      requirePasskeys(parts);
      await gate.read(caller, ownAct(caller, 'account.mfa.enroll'));
      return { ...(await parts.passkeys.registration(await ownUser(parts, caller))) };
    },
    addPasskey: (caller, given) => addOwnPasskey(parts, caller, given),
    removePasskey: (caller, id) => removePasskey(parts, caller, id),
    renewRecoveryCodes: (caller) =>
      gate.act(caller, ownAct(caller, 'account.recovery-codes'), async () => {
        const user = await ownUser(parts, caller);
        if ((await factorsOf(parts, user)).length === 0)
          throw new Fault('state.conflict', {
            detail: 'Enroll a second factor first: these stand in for it.',
          });
        return { recoveryCodes: [...(await renewRecoveryCodes(parts, user.name))] };
      }),
    signIns: async (caller, query) => {
      await gate.read(caller, ownAct(caller, 'account.sign-in.list'));
      const { id } = ownSignIn(caller);
      const filter = { actor: caller.actor.id };
      const listed = await parts.store.identity.signIns.list(filter, storePage(query), parts.clock.now());
      return viewPage(
        listed,
        (record) => signInView(record, id),
        (record) => record,
      );
    },
    endSignIn: (caller, id) =>
      gate.contain(caller, ownAct(caller, 'account.sign-out', { signIn: id }), async () => {
        const record = await parts.store.identity.signIns.get(id, parts.clock.now());
        if (record === null || record.actor !== caller.actor.id) throw absent('sign-in');
        await parts.signIns.end(id, 'ended by its owner');
      }),
    endSignIns: (caller, { everywhere }) =>
      gate.contain(caller, ownAct(caller, 'account.sign-out', { everywhere }), async () => {
        const except = everywhere ? null : ownSignIn(caller).id;
        return await parts.signIns.endAllOf(caller.actor.id, 'ended by its owner', except);
      }),
  };
}

function ownAct(caller: Caller, action: ActionName, data?: Act['data']): Act {
  const { id: owner } = caller.actor;
  const resource = { kind: 'account', id: owner.slice(owner.indexOf(':') + 1), owner } as const;
  return { action, resource, ...(data === undefined ? {} : { data }) };
}

async function ownUser({ store }: SignInParts, caller: Caller): Promise<UserRecord> {
  const user = await store.identity.users.get(ownSignIn(caller).name);
  if (user === null) throw absent('user');
  return user;
}

function enrolled(codes: readonly string[] | undefined): Enrolled {
  return codes === undefined ? {} : { recoveryCodes: [...codes] };
}

async function read(parts: SignInParts, caller: Caller): Promise<AccountView> {
  await parts.gate.read(caller, ownAct(caller, 'account.read'));
  const user = await ownUser(parts, caller);
  const { id } = ownSignIn(caller);
  const { scopes, signIn, teams, role = user.role } = caller.actor;
  const { users, passkeys } = parts.store.identity;
  return {
    name: user.name,
    displayName: user.displayName,
    email: user.email,
    role,
    eligibleRoles: [...user.eligibleRoles],
    teams: [...(teams ?? [])].sort(),
    scopes: [...scopes].sort(),
    password: user.passwordHash !== null,
    totp: user.totpSealed !== null,
    recoveryCodesLeft: await users.recoveryCodesLeft(user.name),
    passkeys: (await passkeys.of(user.name)).map(passkeyView),
    signIn: { id, at: timeText(signIn?.at ?? 0), mfa: signIn?.mfa ?? false },
    lastSignInAt: timeOrNull(user.lastSignInAt),
  };
}

async function changePassword(
  parts: SignInParts,
  caller: Caller,
  { current, password }: ChangePassword,
): Promise<void> {
  refuseLocal(parts);
  const { gate, passwords, lockout, store, changes } = parts;
  const act = ownAct(caller, 'account.password');
  await gate.read(caller, act);
  const user = await ownUser(parts, caller);
  refuseUnfit(parts, password, user);
  const { request } = caller;
  const kept = async () => {
    await lockout.begin(user.name, request.address, notedLockout(parts, request, user.name));
    return user.passwordHash;
  };
  if (!(await passwords.verify(current, kept, request.address)).ok)
    throw refusedSignIn(parts, request, { action: 'account.step-up', reason: 'password', user: user.name });
  await lockout.forgive(user.name, request.address);
  const passwordHash = await passwords.hash(password, request.address);
  await gate.act(caller, act, async () => {
    // Compare-and-swap: of two changes at once, one knows the current password no more.
    if (!(await store.identity.users.rehash(user.name, user.passwordHash ?? '', passwordHash)))
      throw new Fault('state.conflict', { detail: 'The password was changed meanwhile. Sign in again.' });
    await parts.signIns.endAllOf(caller.actor.id, 'password changed', ownSignIn(caller).id);
    await changes.look();
  });
}

async function removeTotp(parts: SignInParts, caller: Caller): Promise<void> {
  const { gate, store, changes } = parts;
  await gate.act(caller, ownAct(caller, 'account.mfa.remove', { factor: 'totp' }), async () => {
    const user = await ownUser(parts, caller);
    if (user.totpSealed === null) throw absent('authenticator');
    const passkeys = await store.identity.passkeys.of(user.name);
    refuseLast(parts, user, passkeys.length);
    await store.identity.users.update(user.name, { totpSealed: null }, null);
    if (passkeys.length === 0) await store.identity.users.putRecoveryCodes(user.name, []);
    await changes.look();
  });
}

async function removePasskey(parts: SignInParts, caller: Caller, id: string): Promise<void> {
  const { gate, store, changes } = parts;
  await gate.act(caller, ownAct(caller, 'account.mfa.remove', { factor: 'passkey' }), async () => {
    const user = await ownUser(parts, caller);
    const passkeys = await store.identity.passkeys.of(user.name);
    if (!passkeys.some((passkey) => passkey.id === id)) throw absent('passkey');
    const left = passkeys.length - 1 + (user.totpSealed === null ? 0 : 1);
    refuseLast(parts, user, left);
    if (!(await store.identity.passkeys.remove(user.name, id))) throw absent('passkey');
    if (left === 0) await store.identity.users.putRecoveryCodes(user.name, []);
    await changes.look();
  });
}

/** A role that demands a second factor keeps one. */
function refuseLast({ signInConfig }: SignInParts, user: UserRecord, left: number): void {
  if (left > 0 || !demandsMfa(signInConfig, user)) return;
  throw new Fault('state.conflict', {
    detail: `The role ${user.role} demands a second factor. Enroll another one before you remove the last.`,
  });
}

async function addOwnPasskey(
  parts: SignInParts,
  caller: Caller,
  { name, answer }: AddPasskey,
): Promise<PasskeyView & Enrolled> {
  refuseLocal(parts);
  requirePasskeys(parts);
  const act = ownAct(caller, 'account.mfa.enroll', { factor: 'passkey', name });
  return await parts.gate.act(caller, act, async () => {
    const user = await ownUser(parts, caller);
    const made = await addPasskey(parts, user, name, registrationAnswer(answer));
    if (made === null)
      throw new Fault('state.conflict', {
        detail: 'The passkey could not be verified, or it is enrolled already. Begin once more.',
      });
    return { ...passkeyView(made), ...enrolled(await firstRecoveryCodes(parts, user.name)) };
  });
}
