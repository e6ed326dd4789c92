import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type ExternalProfile, type Provider, ProviderRefusal, type Round } from './provider.ts';

/** A provider, and whoever plays its other side. */
export type ProviderUnderTest = {
  readonly provider: Provider;
  readonly subject: string;
  /** Where the browser is sent back to after its person signed in; `changes` stand in that way's query. */
  readonly answer: (url: URL, changes?: Readonly<Record<string, string | undefined>>) => URL;
  /** The same provider at a place where nobody listens. */
  readonly absent: Provider;
};

export const testRound: Round = {
  state: 'the-state-of-this-round',
  nonce: 'the-nonce-of-this-round',
  verifier: 'v'.repeat(43),
  redirectUri: 'http://localhost:7717/auth/providers/company/callback',
  startedAt: Date.now(),
  fresh: false,
};

/** The reason and place of a refusal, which hold nothing that was sent. */
export async function refusalOf(work: () => Promise<unknown>): Promise<string> {
  const error = await work().then(
    () => assert.fail('it was taken'),
    (caught: unknown) => caught,
  );
  assert(error instanceof ProviderRefusal, String(error));
  assert.match(error.at, /^[a-z0-9_-]{1,40}$/);
  return `${error.reason}:${error.at}`;
}

/** What every implementation of the seam keeps; called inside the suite of each. */
export function providerConformance(using: () => ProviderUnderTest): void {
  const back = async (changes?: Readonly<Record<string, string | undefined>>) => {
    const { provider, answer } = using();
    return answer(await provider.authorizationUrl(testRound), changes).searchParams;
  };
  const profile = async (query: URLSearchParams, how: Round = testRound): Promise<ExternalProfile> =>
    await using().provider.profileOf(query, how);

  it('sends the browser away with the state and a challenge, and keeps the verifier', async () => {
    const url = await using().provider.authorizationUrl(testRound);
    const { searchParams: sent } = url;
    assert.equal(sent.get('redirect_uri'), testRound.redirectUri);
    assert.deepEqual([sent.get('state'), sent.get('response_type')], [testRound.state, 'code']);
    assert.equal(sent.get('code_challenge_method'), 'S256');
    assert.match(sent.get('code_challenge') ?? '', /^[A-Za-z0-9_-]{43}$/);
    assert.doesNotMatch(url.href, /v{43}|secret-of/);
  });

  it('tells who came back', async () => {
    const { subject, provider } = using();
    const found = await profile(await back());
    assert.deepEqual([found.provider, found.subject], [provider.id, subject]);
  });

  it('redeems a code once, and for nobody without the verifier', async () => {
    const query = await back();
    assert(await profile(query));
    assert.match(await refusalOf(() => profile(query)), /^answer:/);
    const stolen = await back();
    const thief = { ...testRound, verifier: 'w'.repeat(43) };
    assert.match(await refusalOf(() => profile(stolen, thief)), /^answer:/);
  });

  it('takes an answer with its state alone, once', async () => {
    for (const state of [undefined, '', 'of-another-round'])
      assert.match(await refusalOf(async () => profile(await back({ state }))), /^answer:/);
    const twice = await back();
    twice.append('state', testRound.state);
    assert.match(await refusalOf(() => profile(twice)), /^answer:/);
  });

  it('takes no answer of another issuer', async () => {
    const iss = 'https://evil.example';
    assert.match(await refusalOf(async () => profile(await back({ iss }))), /^answer:/);
    assert(await profile(await back({ iss: using().provider.issuer })));
  });

  it('says that nobody was signed in there, in a word of its own', async () => {
    const denied = (error: string) =>
      refusalOf(async () => profile(await back({ code: undefined, error, error_description: '<b>' })));
    assert.equal(await denied('access_denied'), 'denied:access_denied');
    assert.equal(await denied('<script>alert(1)</script>'), 'denied:other');
  });

  it('says that it is not there', async () => {
    const { absent } = using();
    const query = new URLSearchParams({ code: 'c', state: testRound.state, iss: absent.issuer });
    assert.match(await refusalOf(() => absent.profileOf(query, testRound)), /^unreachable:/);
  });
}
