// Signs in to Menshen by opening its mini program in WeChat, for Android.
//
// The application asks for a ticket, shows its number, has WeChat open the mini program, and polls until the person has
// confirmed there. It gets an access token for one hour and a refresh token that works once. No code and no token of
// WeChat's ever passes through the application; its own secret is the PKCE verifier (RFC 7636), which never leaves it.
//
// Needs: minSdk 23, kotlinx-coroutines-android, com.tencent.mm.opensdk:wechat-sdk-android.

package com.example.menshen

import android.content.Context
import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyProperties
import android.util.Base64
import com.tencent.mm.opensdk.modelbiz.WXLaunchMiniProgram
import com.tencent.mm.opensdk.openapi.IWXAPI
import java.io.IOException
import java.net.HttpURLConnection
import java.net.URL
import java.security.KeyStore
import java.security.MessageDigest
import java.security.SecureRandom
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec
import kotlin.random.Random
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import org.json.JSONObject

/** A refusal with one of the gateway's stable codes (docs/http-api.md). Show the message; act on the code. */
class Refused(val code: String, message: String) : Exception(message)

/** What to show before WeChat opens, and what to give it. */
class Ticket(val number: Int?, private val launch: JSONObject) {
    /** The request for WeChat's OpenSDK. `userName` is the mini program's original id (gh_…), not its AppID. */
    fun request() = WXLaunchMiniProgram.Req().apply {
        userName = launch.getString("user_name")
        path = launch.getString("path")
        miniprogramType = launch.getInt("type")
    }
}

/**
 * @param site origin of the site, for example https://stock.example.com; the tokens are for this site alone
 * @param connection id of the `miniprogram-launch` connection
 */
class MenshenLogin(private val site: String, private val connection: String, private val kept: Safe) {
    private val refreshing = Mutex()
    private val finishing = Mutex()
    private var access: String? = null
    private var accessEnds = 0L

    /** Step 1. Afterwards show [Ticket.number] in large type, then call `api.sendReq(ticket.request())` on a tap. */
    suspend fun begin(): Ticket {
        val verifier = base64url(ByteArray(32).also(SecureRandom()::nextBytes))
        val challenge = base64url(MessageDigest.getInstance("SHA-256").digest(verifier.toByteArray()))
        val asked = JSONObject()
            .put("connection", connection)
            .put("code_challenge", challenge)
            .put("code_challenge_method", "S256")
        val (status, created, _) = post("tickets", asked)
        if (status != 201) throw refusal(created)
        // Kept, because Android may end this process while WeChat is in front.
        kept["ticket"] = created.getString("id")
        kept["verifier"] = verifier
        return Ticket(created.optInt("number").takeIf { it > 0 }, created.getJSONObject("launch"))
    }

    /** Whether a login is under way, for example after the process was started again. */
    val isUnderWay get() = kept["ticket"] != null

    /**
     * Step 2. Returns when the person has confirmed, throws [Refused] when that will not happen any more. Call it when
     * WeChat was opened, and again in onResume if the process was ended meanwhile: it asks at once.
     */
    suspend fun finish(): Unit = finishing.withLock {
        // Tokens come once: whoever asks beside another finds it done.
        if (!isUnderWay && kept["refresh"] != null) return
        val ticket = kept["ticket"] ?: throw Refused("ticket_unknown", "no login is under way")
        val proof = JSONObject().put("code_verifier", kept["verifier"])
        var seen = "pending"
        var failures = 0
        while (true) {
            val (status, answer, pause) = try {
                post("tickets/$ticket/redeem?wait=20&seen=$seen", proof)
            } catch (_: IOException) {
                // The system cuts connections of what is not in front. That says nothing about the login.
                Answer(503, JSONObject(), 0)
            }
            when {
                status == 202 -> {
                    failures = 0
                    seen = answer.getString("status")
                }
                status == 200 -> {
                    forgetTicket()
                    return keep(answer)
                }
                status == 429 || status >= 500 -> delay(maxOf(pause * 1_000, backOff(failures++)))
                else -> {
                    forgetTicket()
                    throw refusal(answer)
                }
            }
        }
    }

    /** A token for `Authorization: Bearer`; null when somebody has to sign in. */
    suspend fun token(): String? = refreshing.withLock {
        access?.takeIf { System.currentTimeMillis() < accessEnds }?.let { return it }
        val refresh = kept["refresh"] ?: return null
        // One call at a time: a refresh token that comes twice ends the whole session (RFC 9700 §4.14.2).
        val (status, answer, _) = post("token", JSONObject().put("refresh_token", refresh))
        when {
            status == 200 -> keep(answer)
            status == 401 -> {
                kept["refresh"] = null
                access = null
            }
            else -> throw refusal(answer)
        }
        access
    }

    private fun keep(answer: JSONObject) {
        // First the one that works once: an application that ends here must not come back with the old one.
        kept["refresh"] = answer.getString("refresh_token")
        access = answer.getString("access_token")
        accessEnds = System.currentTimeMillis() + (answer.getLong("expires_in") - 60) * 1000
    }

    private fun forgetTicket() {
        kept["ticket"] = null
        kept["verifier"] = null
    }

    /** `pause`: seconds of `Retry-After`. */
    private data class Answer(val status: Int, val body: JSONObject, val pause: Long)

    private suspend fun post(path: String, body: JSONObject): Answer = withContext(Dispatchers.IO) {
        val connection = URL("$site/.menshen/app/$path").openConnection() as HttpURLConnection
        try {
            connection.requestMethod = "POST"
            connection.instanceFollowRedirects = false
            connection.connectTimeout = 10_000
            connection.readTimeout = 30_000 // longer than `wait`
            connection.doOutput = true
            connection.setRequestProperty("Content-Type", "application/json")
            connection.outputStream.use { it.write(body.toString().toByteArray()) }
            val status = connection.responseCode
            val stream = if (status < 400) connection.inputStream else connection.errorStream
            val text = stream?.use { it.readBytes().decodeToString() }.orEmpty()
            val pause = connection.getHeaderField("Retry-After")?.toLongOrNull() ?: 0
            Answer(status, runCatching { JSONObject(text) }.getOrDefault(JSONObject()), pause.coerceIn(0, 60))
        } finally {
            connection.disconnect()
        }
    }

    private fun refusal(answer: JSONObject): Refused {
        val error = answer.optJSONObject("error") ?: JSONObject()
        return Refused(error.optString("code", "unknown"), error.optString("message"))
    }

    private fun backOff(failures: Int) =
        (1_000L shl failures.coerceAtMost(4)) + Random.nextLong(500)

    private fun base64url(bytes: ByteArray) =
        Base64.encodeToString(bytes, Base64.URL_SAFE or Base64.NO_PADDING or Base64.NO_WRAP)
}

/**
 * Small secrets, encrypted by a key that never leaves the Android Keystore. Exclude the file from backups
 * (`android:dataExtractionRules`): the key does not travel with it.
 */
class Safe(context: Context) {
    private val file = context.getSharedPreferences("menshen", Context.MODE_PRIVATE)

    operator fun get(name: String): String? = runCatching {
        val bytes = Base64.decode(file.getString(name, null) ?: return null, Base64.NO_WRAP)
        val cipher = Cipher.getInstance(CIPHER)
        cipher.init(Cipher.DECRYPT_MODE, key(), GCMParameterSpec(128, bytes, 0, 12))
        cipher.doFinal(bytes, 12, bytes.size - 12).decodeToString()
    }.getOrNull()

    operator fun set(name: String, value: String?) {
        if (value == null) return file.edit().remove(name).apply()
        val cipher = Cipher.getInstance(CIPHER).apply { init(Cipher.ENCRYPT_MODE, key()) }
        val sealed = cipher.iv + cipher.doFinal(value.toByteArray())
        // Written before anything else happens: the old refresh token is worth nothing any more.
        file.edit().putString(name, Base64.encodeToString(sealed, Base64.NO_WRAP)).commit()
    }

    private fun key(): SecretKey {
        val store = KeyStore.getInstance("AndroidKeyStore").apply { load(null) }
        (store.getKey(ALIAS, null) as? SecretKey)?.let { return it }
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val wanted = KeyGenParameterSpec.Builder(ALIAS, purposes)
            .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
            .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
            .build()
        return KeyGenerator.getInstance("AES", "AndroidKeyStore").apply { init(wanted) }.generateKey()
    }

    private companion object {
        const val ALIAS = "menshen"
        const val CIPHER = "AES/GCM/NoPadding"
    }
}

/** Step 1 and WeChat in one tap. `api` was made with the AppID of this mobile application, not the mini program's. */
suspend fun signIn(login: MenshenLogin, api: IWXAPI, showNumber: suspend (Int) -> Unit) {
    val ticket = login.begin()
    ticket.number?.let { showNumber(it) } // returns when the person taps "open WeChat"
    if (!api.sendReq(ticket.request())) throw Refused("no_wechat", "WeChat is not installed")
    login.finish()
}
