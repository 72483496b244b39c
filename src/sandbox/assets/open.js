// A website's code and the phone that answers it. WeChat's page polls with script elements; so does this one.
const main = document.querySelector('main[data-uuid]');
if (main) {
  const { uuid, page } = main.dataset;
  const said = document.getElementById('said');
  // Buttons and no form: whoever embeds this page may forbid its forms.
  document.getElementById('decide').addEventListener('click', async ({ target }) => {
    if (target.tagName !== 'BUTTON') return;
    const body = JSON.stringify({
      uuid,
      persona: document.getElementById('person').value,
      allow: target.value === 'yes',
    });
    const answer = await fetch('/connect/confirm', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
    });
    said.textContent = answer.ok ? '✓' : '×';
  });
  const poll = (last) => {
    const script = document.createElement('script');
    script.src = `/connect/l/qrconnect?uuid=${encodeURIComponent(uuid)}${last ? `&last=${last}` : ''}&_=${Date.now()}`;
    script.onerror = () => setTimeout(poll, 2000, last);
    script.onload = () => {
      script.remove();
      const code = window.wx_errcode;
      if (code === 405) {
        const address = new URL(main.dataset.back);
        address.searchParams.append('code', window.wx_code);
        address.searchParams.append('state', main.dataset.state);
        window.top.location = address;
      } else if (code === 404) {
        said.textContent = '已扫描 Scanned';
        poll('404');
      } else if (code === 403) {
        said.textContent = '已拒绝 Refused';
      } else if (code === 402) {
        said.textContent = '二维码已过期 Expired';
      } else {
        poll(last);
      }
    };
    document.head.append(script);
  };
  if (page === 'website') {
    // A script that waits would hold the page's own loading up.
    addEventListener('load', () => poll(''));
  }
}
