import type { Clock } from '../../base/clock.ts';
import type { AccessTokens } from '../../identity/access-tokens.ts';
import type { ClientAssertions } from '../../identity/client-assertions.ts';
import type { Identity } from '../../identity/identity.ts';
import type { Principals } from '../../identity/principals.ts';
import type { RunIdentity } from '../../identity/run-identity.ts';
import type { SignIns } from '../../identity/sign-ins.ts';
import type { SigningKeys } from '../../identity/signing-keys.ts';
import type { Tokens } from '../../identity/tokens.ts';
import type { IdentityStore } from '../../store/identity-store.ts';
import type { Gate } from '../gate.ts';
import type { SignInConfig } from './sign-in-parts.ts';

/** What the authorization server is made of. */
export type OAuthParts = {
  readonly store: Pick<IdentityStore, 'agents' | 'signIns' | 'oneTimes' | 'attempts'>;
  readonly identity: Identity;
  readonly tokens: Tokens;
  readonly accessTokens: AccessTokens;
  readonly assertions: ClientAssertions;
  readonly signIns: SignIns;
  readonly signingKeys: SigningKeys;
  readonly runIdentity: Pick<RunIdentity, 'verify'>;
  /** Of how people sign in, what holds for programs too: where each role may come from. */
  readonly signInConfig: Pick<SignInConfig, 'mayComeFrom'>;
  readonly principals: Principals;
  readonly gate: Gate;
  readonly clock: Clock;
};
