import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pathOfKey, queryText, type SignedRequest, signedHeaders } from './sigv4.ts';

/** The examples of Amazon's "Authenticating Requests: Using the Authorization Header", with the key that they are made with. */
const key = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  region: 'us-east-1',
};
const at = Date.parse('2013-05-24T00:00:00Z');
const get = {
  method: 'GET',
  host: 'examplebucket.s3.amazonaws.com',
  path: '/',
  query: {},
  headers: {},
  payload: '',
};

const examples: Readonly<Record<string, [SignedRequest, string, string]>> = {
  'an object is read': [
    { ...get, path: '/test.txt', headers: { range: 'bytes=0-9' } },
    'host;range;x-amz-content-sha256;x-amz-date',
    'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
  ],
  'an object is put': [
    {
      ...{ method: 'PUT', host: get.host, path: pathOfKey('/test$file.text'), query: {} },
      headers: { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      payload: 'Welcome to Amazon S3.',
    },
    'date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class',
    '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
  ],
  'a parameter without a value': [
    { ...get, query: { lifecycle: '' } },
    'host;x-amz-content-sha256;x-amz-date',
    'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  ],
  'a bucket is listed': [
    { ...get, query: { prefix: 'J', 'max-keys': '2' } },
    'host;x-amz-content-sha256;x-amz-date',
    '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  ],
};

for (const [what, [request, names, signature]] of Object.entries(examples))
  test(`signs as Amazon says: ${what}`, () => {
    assert.equal(
      signedHeaders(request, key, at).authorization,
      `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=${names},Signature=${signature}`,
    );
  });

test('every octet beyond the unreserved ones is encoded, as it is signed', () => {
  assert.equal(pathOfKey("/b/a b'(*)!é~"), '/b/a%20b%27%28%2A%29%21%C3%A9~');
  assert.equal(queryText({ 'start-after': 'a/b', 'list-type': '2' }), 'list-type=2&start-after=a%2Fb');
});
