import type { SignInError } from '../../contract/sign-in-page.ts';
import type { Provider } from '../../identity/providers/provider.ts';
import type { SignInParts } from './sign-in-parts.ts';

/** What signing in at providers works with. */
export type ProviderParts = Pick<
  SignInParts,
  'store' | 'gate' | 'clock' | 'signIns' | 'changes' | 'signInConfig'
> & {
  /** By id, in the order in which they are offered. */
  readonly providers: ReadonlyMap<string, Provider>;
};

/** Why nobody was signed in: what the page says, and for the record the class, the place and the user if there is one. */
export type ProviderDenial = {
  readonly error: SignInError;
  readonly reason: string;
  readonly at?: string;
  readonly user?: string;
};
