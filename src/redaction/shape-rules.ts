import type { CharacterSetName } from './characters.ts';

/** What follows a beginning for the whole to be a secret. */
export type ShapeBody =
  | {
      /** A run of characters. */
      readonly form: 'run';
      readonly of: CharacterSetName;
      readonly least: number;
      /** A longer run is something else. */
      readonly most?: number;
      /** Dots that the run holds at least. */
      readonly dots?: number;
      /** Not a plain word: with a digit, a capital or a sign. */
      readonly mixed?: true;
    }
  | { readonly form: 'private-key' | 'user-info' | 'labelled' };

/**
 * A well-known shape of secrets. `id` is what stands in its place, `[redacted:id]`. `begins` are its first characters,
 * compared by case unless `ignoresCase`. A letter or digit before them makes them something else, unless `insideWords`.
 * `keepsBegin`: they say nothing secret and stay.
 */
export type ShapeRule = {
  readonly id: string;
  readonly what: string;
  readonly begins: readonly string[];
  readonly body: ShapeBody;
  readonly ignoresCase?: true;
  readonly insideWords?: true;
  readonly keepsBegin?: true;
};

const letters = [...'abcdefghijklmnopqrstuvwxyz'];

function run(of: CharacterSetName, least: number, more: { most?: number; dots?: number; mixed?: true } = {}) {
  return { form: 'run', of, least, ...more } as const;
}

/** Own tokens, by `src/identity/token-secret.ts`, and codes of programs and devices. */
const own: readonly ShapeRule[] = [
  {
    id: 'sealwright-token',
    what: 'Tokens, secrets, cookies, tickets and codes of Sealwright itself (`sw_…`, `sws_…`, `swb_…` and their like)',
    begins: ['sw_', ...letters.map((letter) => `sw${letter}_`)],
    body: run('word', 30),
  },
];

const hosting: readonly ShapeRule[] = [
  {
    id: 'github-token',
    what: 'GitHub tokens: personal, OAuth, user-to-server, server-to-server, refresh, fine-grained',
    begins: ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_', 'github_pat_'],
    body: run('word', 22),
    insideWords: true,
  },
  {
    id: 'gitlab-token',
    what: 'GitLab tokens: personal, deploy, runner, trigger, feed, mail, agent, OAuth, job',
    begins: [
      'glpat-',
      'gldt-',
      'glrt-',
      'glptt-',
      'glft-',
      'glimt-',
      'glagent-',
      'gloas-',
      'glsoat-',
      'glcbt-',
    ],
    body: run('dotted', 20),
    insideWords: true,
  },
  { id: 'npm-token', what: 'npm access tokens', begins: ['npm_'], body: run('alphanumeric', 36) },
  { id: 'pypi-token', what: 'PyPI upload tokens', begins: ['pypi-'], body: run('word', 40) },
  { id: 'rubygems-key', what: 'RubyGems API keys', begins: ['rubygems_'], body: run('lowerHex', 48) },
  {
    id: 'docker-token',
    what: 'Docker Hub access tokens',
    begins: ['dckr_pat_', 'dckr_oat_'],
    body: run('word', 20),
  },
  {
    id: 'atlassian-token',
    what: 'Atlassian API tokens',
    begins: ['ATATT3', 'ATCTT3'],
    body: run('base64', 50),
  },
];

const clouds: readonly ShapeRule[] = [
  {
    id: 'aws-access-key',
    what: 'AWS access key ids, long-lived and temporary; the secret beside them is found by its label',
    begins: ['AKIA', 'ASIA', 'ABIA', 'ACCA'],
    body: run('upper', 16, { most: 16 }),
  },
  { id: 'google-api-key', what: 'Google API keys', begins: ['AIza'], body: run('word', 35) },
  {
    id: 'google-oauth',
    what: 'Google OAuth access tokens and client secrets',
    begins: ['ya29.', 'GOCSPX-'],
    body: run('dotted', 20),
  },
  {
    id: 'digitalocean-token',
    what: 'DigitalOcean tokens',
    begins: ['dop_v1_', 'doo_v1_', 'dor_v1_'],
    body: run('lowerHex', 64),
  },
  {
    id: 'vault-token',
    what: 'Vault and OpenBao tokens: service, batch, recovery',
    begins: ['hvs.', 'hvb.', 'hvr.'],
    body: run('word', 24),
  },
  { id: 'databricks-token', what: 'Databricks tokens', begins: ['dapi'], body: run('lowerHex', 32) },
  { id: 'tailscale-key', what: 'Tailscale keys', begins: ['tskey-'], body: run('word', 20) },
  { id: 'pulumi-token', what: 'Pulumi tokens', begins: ['pul-'], body: run('lowerHex', 40) },
  { id: 'grafana-token', what: 'Grafana tokens', begins: ['glsa_', 'glc_'], body: run('base64', 32) },
  { id: 'supabase-token', what: 'Supabase tokens', begins: ['sbp_'], body: run('lowerHex', 40) },
  {
    id: 'planetscale-token',
    what: 'PlanetScale tokens and passwords',
    begins: ['pscale_tkn_', 'pscale_pw_'],
    body: run('dotted', 32),
  },
];

const models: readonly ShapeRule[] = [
  { id: 'anthropic-key', what: 'Anthropic keys', begins: ['sk-ant-'], body: run('word', 20) },
  {
    id: 'openai-key',
    what: 'OpenAI keys: of projects, service accounts and administrators',
    begins: ['sk-proj-', 'sk-svcacct-', 'sk-admin-', 'sk-None-'],
    body: run('word', 20),
  },
  {
    id: 'openai-key',
    what: 'OpenAI keys of the older shape, and what others copied from it',
    begins: ['sk-'],
    body: run('alphanumeric', 32),
  },
  { id: 'openrouter-key', what: 'OpenRouter keys', begins: ['sk-or-'], body: run('word', 20) },
  {
    id: 'huggingface-token',
    what: 'Hugging Face tokens',
    begins: ['hf_', 'api_org_'],
    body: run('alphanumeric', 30),
  },
  { id: 'groq-key', what: 'Groq keys', begins: ['gsk_'], body: run('alphanumeric', 40) },
  { id: 'replicate-token', what: 'Replicate tokens', begins: ['r8_'], body: run('alphanumeric', 37) },
  { id: 'xai-key', what: 'xAI keys', begins: ['xai-'], body: run('alphanumeric', 60) },
  { id: 'nvidia-key', what: 'NVIDIA keys', begins: ['nvapi-'], body: run('word', 50) },
  { id: 'perplexity-key', what: 'Perplexity keys', begins: ['pplx-'], body: run('alphanumeric', 40) },
];

const services: readonly ShapeRule[] = [
  {
    id: 'slack-token',
    what: 'Slack tokens',
    begins: [
      ...['xoxb-', 'xoxp-', 'xoxa-', 'xoxr-', 'xoxs-', 'xoxo-', 'xoxc-', 'xoxd-', 'xoxe-', 'xoxe.'],
      'xapp-',
    ],
    body: run('token', 10),
    insideWords: true,
  },
  {
    id: 'slack-webhook',
    what: 'Slack webhooks: whoever knows the address may post',
    begins: ['hooks.slack.com/services/', 'hooks.slack.com/workflows/', 'hooks.slack.com/triggers/'],
    body: run('path', 20),
    insideWords: true,
    keepsBegin: true,
  },
  {
    id: 'discord-webhook',
    what: 'Discord webhooks',
    begins: ['discord.com/api/webhooks/', 'discordapp.com/api/webhooks/'],
    body: run('path', 60),
    insideWords: true,
    keepsBegin: true,
  },
  {
    id: 'stripe-key',
    what: 'Stripe keys, live and test, and the secrets of its webhooks',
    begins: ['sk_live_', 'rk_live_', 'sk_test_', 'rk_test_', 'whsec_'],
    body: run('base64', 16),
    insideWords: true,
  },
  { id: 'sendgrid-key', what: 'SendGrid keys', begins: ['SG.'], body: run('dotted', 40, { dots: 1 }) },
  { id: 'twilio-key', what: 'Twilio API keys', begins: ['SK'], body: run('lowerHex', 32, { most: 32 }) },
  {
    id: 'shopify-token',
    what: 'Shopify tokens and secrets',
    begins: ['shpat_', 'shpca_', 'shppa_', 'shpss_'],
    body: run('hex', 32),
  },
  {
    id: 'linear-key',
    what: 'Linear keys',
    begins: ['lin_api_', 'lin_oauth_'],
    body: run('alphanumeric', 32),
  },
  { id: 'notion-token', what: 'Notion tokens', begins: ['ntn_'], body: run('alphanumeric', 40) },
  { id: 'postman-key', what: 'Postman keys', begins: ['PMAK-'], body: run('word', 50) },
  { id: 'newrelic-key', what: 'New Relic keys', begins: ['NRAK-'], body: run('upper', 27) },
  {
    id: 'square-token',
    what: 'Square tokens and secrets',
    begins: ['sq0atp-', 'sq0csp-'],
    body: run('word', 22),
  },
  { id: 'sentry-token', what: 'Sentry tokens', begins: ['sntrys_', 'sntryu_'], body: run('base64', 40) },
  {
    id: 'age-key',
    what: 'age secret keys',
    begins: ['AGE-SECRET-KEY-1'],
    body: run('alphanumeric', 50),
    ignoresCase: true,
  },
];

const general: readonly ShapeRule[] = [
  {
    id: 'jwt',
    what: 'JSON Web Tokens, signed or encrypted, also without their last part',
    begins: ['eyJ'],
    body: run('dotted', 24, { dots: 1 }),
  },
  {
    id: 'private-key',
    what: 'Private keys in PEM, to their end or to the end of the text, line breaks as such or as `\\n`',
    begins: ['-----BEGIN '],
    body: { form: 'private-key' },
    insideWords: true,
  },
  {
    id: 'credential',
    what: '`Bearer …` and `Basic …`, where what follows is no plain word',
    begins: ['bearer ', 'basic '],
    body: run('token', 8, { mixed: true }),
    ignoresCase: true,
    keepsBegin: true,
  },
  {
    id: 'user-info',
    what: 'The password in a URL, and the user where an http URL has one without a password',
    begins: ['://'],
    body: { form: 'user-info' },
    insideWords: true,
    keepsBegin: true,
  },
  {
    id: 'signed-url',
    what: 'Signatures in URLs that are as good as a password (S3, Google Cloud Storage, Azure)',
    begins: ['x-amz-signature=', 'x-goog-signature=', 'sig='],
    body: run('token', 16, { mixed: true }),
    ignoresCase: true,
    keepsBegin: true,
  },
  {
    id: 'labelled',
    what: 'What a secret name labels in a text: `DB_PASSWORD=…`, `--api-key …`, `"clientSecret": "…"`, `Cookie: …`',
    begins: [
      ...['password', 'passwd', 'passphrase', 'passcode', 'pwd', 'secret', 'token', 'cookie', 'credential'],
      ...[
        'authorization',
        'apikey',
        'api_key',
        'api-key',
        'api.key',
        'accesskey',
        'access_key',
        'access-key',
      ],
      ...[
        'accountkey',
        'account_key',
        'account-key',
        'privatekey',
        'private_key',
        'private-key',
        'signing_key',
      ],
      ...['encryption_key', 'master_key', 'shared_key', 'storage_key', 'auth_key', 'authkey', 'otp', 'jwt'],
      ...['recovery_code', 'backup_code', 'user_code', 'device_code', 'code_verifier'],
    ],
    body: { form: 'labelled' },
    ignoresCase: true,
    insideWords: true,
    keepsBegin: true,
  },
];

/**
 * The shapes of secrets that are taken out of every text, where several fit the first. `docs/reference/redaction.md`
 * lists them.
 */
export const shapeRules: readonly ShapeRule[] = [
  ...own,
  ...hosting,
  ...clouds,
  ...models,
  ...services,
  ...general,
];
