/**
 * On every answer, whatever it is: nothing is cached, sniffed, framed, embedded or run by a browser, and what opened it
 * has no hold on it. Pages of this server replace the policy of content by their own. There is no CORS: no other
 * origin's scripts read anything here.
 */
export const securityHeaders = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': noneOf(
    'accelerometer',
    'browsing-topics',
    'camera',
    'display-capture',
    'encrypted-media',
    'geolocation',
    'gyroscope',
    'hid',
    'magnetometer',
    'microphone',
    'midi',
    'payment',
    'serial',
    'usb',
    'xr-spatial-tracking',
  ),
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const;

/** Where the client's side is HTTPS, and only there (RFC 6797 §7.2): from now on nothing else, for a year. */
export const transportSecurity = {
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
} as const;

/** The headers of an answer to a client that speaks TLS, or does not. */
export function answerHeaders(isSecure: boolean): Readonly<Record<string, string>> {
  return isSecure ? securedHeaders : securityHeaders;
}

const securedHeaders = { ...securityHeaders, ...transportSecurity };

function noneOf(...features: string[]): string {
  return features.map((feature) => `${feature}=()`).join(', ');
}
