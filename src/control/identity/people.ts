import type { Clock } from '../../base/clock.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import { openLockout } from '../../identity/lockout.ts';
import { openPasskeys } from '../../identity/passkeys.ts';
import { openPasswords } from '../../identity/passwords.ts';
import type { Principals } from '../../identity/principals.ts';
import type { Provider } from '../../identity/providers/provider.ts';
import type { Sealing } from '../../identity/sealing.ts';
import type { SignIns } from '../../identity/sign-ins.ts';
import type { Store } from '../../store/store.ts';
import type { Control } from '../control.ts';
import type { Gate } from '../gate.ts';
import { accountUseCases } from './account.ts';
import { invitationUseCases } from './invitations.ts';
import { passwordResetUseCases } from './password-resets.ts';
import { providerSignInUseCases } from './provider-sign-ins.ts';
import { signInUseCases } from './sign-in.ts';
import type { SignInConfig } from './sign-in-parts.ts';
import { stepUpUseCases } from './step-up.ts';
import type { TicketParts } from './tickets.ts';
import { userIdentityUseCases } from './user-identities.ts';
import { userUseCases } from './users.ts';

export type PeopleOptions = {
  readonly store: Store;
  readonly clock: Clock;
  readonly signIns: SignIns;
  readonly changes: ChangeFeed;
  readonly principals: Principals;
  readonly sealing: Sealing;
  readonly flags: TicketParts['flags'];
  readonly signIn: SignInConfig;
  /** Where people may sign in besides here, by id, in the order in which they are offered. */
  readonly providers: ReadonlyMap<string, Provider>;
};

/** What people do to come in, with their own account, and to each other. */
export function peopleUseCases(
  options: PeopleOptions,
  gate: Gate,
): Pick<
  Control,
  | 'signIn'
  | 'providers'
  | 'stepUp'
  | 'account'
  | 'users'
  | 'userIdentities'
  | 'invitations'
  | 'passwordResets'
> {
  const { store, clock, signIns, changes, sealing, flags, signIn } = options;
  const providerParts = { ...options, gate, signInConfig: signIn };
  const providers = providerSignInUseCases(providerParts);
  const parts: TicketParts = {
    store,
    gate,
    clock,
    signIns,
    changes,
    sealing,
    flags,
    passwords: openPasswords(),
    passkeys: openPasskeys({ store: store.identity, clock, site: signIn }),
    lockout: openLockout({ attempts: store.identity.attempts, clock }),
    signInConfig: signIn,
  };
  return {
    signIn: signInUseCases({
      ...parts,
      providers: async () =>
        providers.list().map(({ id, label }) => ({ id, name: label, url: `/auth/providers/${id}/start` })),
    }),
    providers,
    stepUp: stepUpUseCases(parts),
    account: accountUseCases(parts),
    users: userUseCases(parts),
    userIdentities: userIdentityUseCases(providerParts),
    invitations: invitationUseCases(parts),
    passwordResets: passwordResetUseCases({ ...parts, principals: options.principals }),
  };
}
