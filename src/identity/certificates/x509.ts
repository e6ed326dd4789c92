export type X509 = typeof import('@peculiar/x509');

let loading: Promise<X509> | null = null;

/**
 * The library that reads certificate requests and writes certificates, loaded by the first who needs it: most servers
 * issue none, and it takes 20 MB. The container that it stands on (tsyringe) will not load where `Reflect` has no
 * metadata; it asks for none that anybody wrote.
 */
export function loadX509(): Promise<X509> {
  loading ??= (async () => {
    for (const name of ['getMetadata', 'getOwnMetadata'])
      if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value: () => undefined });
    return await import('@peculiar/x509');
  })();
  return loading;
}
