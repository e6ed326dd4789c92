import type { IdentityDirectoryOptions } from '../identity/open.ts';
import { SettingError, type Settings } from './settings.ts';
import { publicUrlOf, signInLives } from './sign-in-site.ts';

/** What the settings say of identities; `port` is where this server listens. */
export function identitySettings(
  settings: Settings,
  port: number,
): Pick<IdentityDirectoryOptions, 'publicUrl' | 'lives' | 'trustDomain' | 'runAudiences'> {
  const publicUrl = publicUrlOf(settings, port);
  const { runIdentityAudiences } = settings;
  if (runIdentityAudiences.includes(publicUrl))
    throw new SettingError(
      `runIdentityAudiences: ${publicUrl} is this server itself, which takes no run's token; name the services that do`,
    );
  return {
    publicUrl,
    lives: signInLives(settings),
    trustDomain: trustDomainOf(settings, publicUrl),
    ...(runIdentityAudiences.length === 0 ? {} : { runAudiences: runIdentityAudiences }),
  };
}

/** An address of IPv6 has colons, which no trust domain has (SPIFFE-ID §2.1). */
function trustDomainOf({ trustDomain }: Settings, publicUrl: string): string {
  return trustDomain ?? new URL(publicUrl).hostname.replaceAll(/[^a-z0-9._-]/g, '-');
}
