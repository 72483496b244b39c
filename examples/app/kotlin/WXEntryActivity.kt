// The way back from WeChat. WeChat looks for exactly this name: PACKAGE.wxapi.WXEntryActivity, exported, launchMode
// singleTask, taskAffinity of the application (docs of WeChat's OpenSDK).
//
// What the mini program gives back (`extMsg`) is the scene of the ticket: it says which login this was about, and nothing
// about how it ended. The application is being polled for anyway; coming to the front is reason enough to ask at once.

package com.example.menshen.wxapi

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import com.tencent.mm.opensdk.modelbase.BaseReq
import com.tencent.mm.opensdk.modelbase.BaseResp
import com.tencent.mm.opensdk.openapi.IWXAPIEventHandler
import com.tencent.mm.opensdk.openapi.WXAPIFactory

class WXEntryActivity : Activity(), IWXAPIEventHandler {
    private val api by lazy { WXAPIFactory.createWXAPI(this, "wx0011223344556677", true) }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        api.handleIntent(intent, this)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        api.handleIntent(intent, this)
    }

    /** Back by `launchApp`: WXLaunchMiniProgram.Resp. */
    override fun onResp(response: BaseResp) = goOn()

    /** Some versions of WeChat come back by ShowMessageFromWX.Req instead. */
    override fun onReq(request: BaseReq) = goOn()

    private fun goOn() {
        packageManager.getLaunchIntentForPackage(packageName)?.let(::startActivity)
        finish()
    }
}
