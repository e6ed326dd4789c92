import type { NewPasskeyAnswer, PasskeyAnswer } from '../src/contract/sign-in-schemas.ts';

/** What the server asks a browser for, as JSON writes it: bytes in base64url (WebAuthn §5.1). */
export type PasskeyRequest = Readonly<Record<string, unknown>> & { readonly challenge: string };
type Described = { readonly id: string; readonly transports?: AuthenticatorTransport[] };

/** Whether this page stands where its passkeys belong, and the browser can use them. */
export function canUsePasskeys(domain: string | null): boolean {
  return domain === location.hostname && 'PublicKeyCredential' in window;
}

/** Has the browser prove a passkey. Throws what people can read where it does not. */
export async function provePasskey(request: PasskeyRequest): Promise<PasskeyAnswer> {
  const allowed = request.allowCredentials as Described[] | undefined;
  const publicKey = {
    ...request,
    challenge: bytesOf(request.challenge),
    ...(allowed === undefined ? {} : { allowCredentials: allowed.map(described) }),
  } as unknown as PublicKeyCredentialRequestOptions;
  const got = await asked(() => navigator.credentials.get({ publicKey }));
  const { clientDataJSON, authenticatorData, signature, userHandle } =
    got.response as AuthenticatorAssertionResponse;
  return {
    id: got.id,
    rawId: textOf(got.rawId),
    type: 'public-key',
    response: {
      clientDataJSON: textOf(clientDataJSON),
      authenticatorData: textOf(authenticatorData),
      signature: textOf(signature),
      ...(userHandle === null ? {} : { userHandle: textOf(userHandle) }),
    },
    clientExtensionResults: {},
  };
}

/** Has the browser make a passkey. */
export async function makePasskey(request: PasskeyRequest): Promise<NewPasskeyAnswer> {
  const user = request.user as { id: string };
  const excluded = (request.excludeCredentials ?? []) as Described[];
  const publicKey = {
    ...request,
    challenge: bytesOf(request.challenge),
    user: { ...user, id: bytesOf(user.id) },
    excludeCredentials: excluded.map(described),
  } as unknown as PublicKeyCredentialCreationOptions;
  const made = await asked(() => navigator.credentials.create({ publicKey }));
  const response = made.response as AuthenticatorAttestationResponse;
  return {
    id: made.id,
    rawId: textOf(made.rawId),
    type: 'public-key',
    response: {
      clientDataJSON: textOf(response.clientDataJSON),
      attestationObject: textOf(response.attestationObject),
      transports: response.getTransports(),
    },
    clientExtensionResults: {},
  };
}

async function asked(ask: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  let got: Credential | null = null;
  try {
    got = await ask();
  } catch (error) {
    if (error instanceof DOMException && error.name === 'InvalidStateError')
      throw new Error('This device holds a passkey for you already.');
  }
  if (got === null) throw new Error('No passkey was used. Try again, or choose another way.');
  return got as PublicKeyCredential;
}

function described({ id, ...rest }: Described): PublicKeyCredentialDescriptor {
  return { ...rest, type: 'public-key', id: bytesOf(id) };
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}

function textOf(bytes: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(plain).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
