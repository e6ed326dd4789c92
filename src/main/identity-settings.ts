import type { IdentityDirectoryOptions } from '../identity/open.ts';
import type { Settings } from './settings.ts';
import { publicUrlOf, signInLives } from './sign-in-site.ts';

/** What the settings say of identities; `port` is where this server listens. */
export function identitySettings(
  settings: Settings,
  port: number,
): Pick<IdentityDirectoryOptions, 'publicUrl' | 'lives' | 'trustDomain'> {
  const publicUrl = publicUrlOf(settings, port);
  return { publicUrl, lives: signInLives(settings), trustDomain: trustDomainOf(settings, publicUrl) };
}

/** An address of IPv6 has colons, which no trust domain has (SPIFFE-ID §2.1). */
function trustDomainOf({ trustDomain }: Settings, publicUrl: string): string {
  return trustDomain ?? new URL(publicUrl).hostname.replaceAll(/[^a-z0-9._-]/g, '-');
}
