import { dirname, resolve } from 'node:path';
import { type DescribedProvider, type ProviderSettings, providersFile } from '../contract/providers.ts';
import { checkPrivate, readCertificates, readDescribed, readSecret } from './described-file.ts';

/**
 * What the file of providers says, with the secrets and authorities that it names read; with `optional` nothing where
 * there is no such file. Throws SettingError, which says where and what to do and holds no value of the file.
 */
export function readProviders(path: string, { optional }: { optional: boolean }): ProviderSettings[] {
  const said = readDescribed({ setting: 'providersFile', path, optional }, providersFile);
  if (said === null) return [];
  const { providers } = said;
  if (providers.some(({ clientSecret }) => clientSecret !== undefined))
    checkPrivate(path, path, 'a client secret');
  return providers.map((provider) => load(path, provider));
}

function load(
  path: string,
  { clientSecretFile, caFile, clientSecret, ...rest }: DescribedProvider,
): ProviderSettings {
  const beside = (name: string) => resolve(dirname(path), name);
  const authorities = caFile === undefined ? [] : readCertificates(path, beside(caFile));
  const secret =
    clientSecretFile === undefined
      ? (clientSecret ?? null)
      : readSecret(path, beside(clientSecretFile), 'a client secret');
  return { ...rest, clientSecret: secret, authorities } as ProviderSettings;
}
