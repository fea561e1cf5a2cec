package org.weft.tunnel

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.KeyProperties
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermission
import java.nio.file.attribute.PosixFilePermissions
import java.security.GeneralSecurityException
import java.security.KeyStore
import java.security.ProviderException
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec

/** Where the key that seals the files comes from. */
fun interface KeySource {
    /** The key, made at the first call: AES, 256 bits. */
    @Throws(GeneralSecurityException::class)
    fun key(): SecretKey
}

/** A key that the system's key store keeps and never gives out, bound to this installation of the app. */
class KeystoreKey(
    private val alias: String = "org.weft.state",
) : KeySource {
    @Synchronized
    override fun key(): SecretKey {
        val store = KeyStore.getInstance(PROVIDER).apply { load(null) }
        (store.getKey(alias, null) as? SecretKey)?.let { return it }
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val spec =
            KeyGenParameterSpec
                .Builder(alias, purposes)
                .setKeySize(KEY_BITS)
                .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
                .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
                .build()
        return KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, PROVIDER).apply { init(spec) }.generateKey()
    }

    private companion object {
        const val PROVIDER = "AndroidKeyStore"
        const val KEY_BITS = 256
    }
}

/**
 * Secrets in files of [folder], one each, sealed with AES-GCM and replaced whole. A file is one byte of version, 12 of
 * nonce, then the sealed bytes; the name is sealed along, so that no file passes for another.
 */
class SecretStore(
    private val folder: File,
    private val keys: KeySource = KeystoreKey(),
) {
    /**
     * What is stored under [name], or null. A file that the key does not open (it was damaged, or the key is gone with
     * a restored backup) is put aside under another name and counts as absent, told by [onLost].
     *
     * @throws IOException the storage or the key store fails
     */
    @Synchronized
    fun load(
        name: String,
        onLost: () -> Unit = {},
    ): ByteArray? {
        val file = file(name)
        if (!file.exists()) return null
        val bytes = file.readBytes()
        val key = keyOrFail()
        return try {
            open(name, bytes, key)
        } catch (_: Malformed) {
            putAside(file, onLost)
        } catch (_: AEADBadTagException) {
            putAside(file, onLost)
        } catch (_: KeyPermanentlyInvalidatedException) {
            putAside(file, onLost)
        } catch (error: GeneralSecurityException) {
            // A key store that fails today may open it tomorrow.
            throw IOException("cannot open $name", error)
        } catch (error: ProviderException) {
            throw IOException("cannot open $name", error)
        }
    }

    private fun putAside(
        file: File,
        onLost: () -> Unit,
    ): ByteArray? {
        if (!file.renameTo(File(folder, "${file.name}$LOST"))) throw IOException("cannot put ${file.name} aside")
        onLost()
        return null
    }

    /**
     * Stores [value] under [name], or removes what is there.
     *
     * @throws IOException the storage or the key store fails; what was there before stays
     */
    @Synchronized
    fun store(
        name: String,
        value: ByteArray?,
    ) {
        val file = file(name)
        if (value == null) {
            if (file.exists() && !file.delete()) throw IOException("cannot remove $name")
            return
        }
        if (!folder.isDirectory && !folder.mkdirs()) throw IOException("cannot make ${folder.name}")
        val sealed =
            try {
                seal(name, value, keyOrFail())
            } catch (error: GeneralSecurityException) {
                throw IOException("cannot seal $name", error)
            } catch (error: ProviderException) {
                throw IOException("cannot seal $name", error)
            }
        replace(file, sealed)
    }

    private fun keyOrFail(): SecretKey =
        try {
            keys.key()
        } catch (error: GeneralSecurityException) {
            throw IOException("the key store gives no key", error)
        } catch (error: ProviderException) {
            throw IOException("the key store gives no key", error)
        }

    private fun file(name: String): File {
        require(NAME.matches(name)) { "not a name of a secret" }
        return File(folder, name)
    }

    private fun seal(
        name: String,
        value: ByteArray,
        key: SecretKey,
    ): ByteArray {
        val cipher = Cipher.getInstance(TRANSFORMATION)
        // The cipher picks the nonce: the key store allows no other.
        cipher.init(Cipher.ENCRYPT_MODE, key)
        cipher.updateAAD(name.toByteArray())
        val nonce = cipher.iv
        if (nonce.size != NONCE) throw GeneralSecurityException("a nonce of ${nonce.size} bytes")
        return byteArrayOf(VERSION) + nonce + cipher.doFinal(value)
    }

    private fun open(
        name: String,
        bytes: ByteArray,
        key: SecretKey,
    ): ByteArray {
        if (bytes.size < HEAD + TAG_BITS / 8 || bytes[0] != VERSION) throw Malformed()
        val cipher = Cipher.getInstance(TRANSFORMATION)
        cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(TAG_BITS, bytes, 1, NONCE))
        cipher.updateAAD(name.toByteArray())
        return cipher.doFinal(bytes, HEAD, bytes.size - HEAD)
    }

    private fun replace(
        file: File,
        bytes: ByteArray,
    ) {
        val next = File(folder, "${file.name}$NEXT")
        next.delete()
        Files.createFile(next.toPath(), PosixFilePermissions.asFileAttribute(OWNER_ONLY))
        FileOutputStream(next).use {
            it.write(bytes)
            it.fd.sync()
        }
        if (!next.renameTo(file)) throw IOException("cannot replace ${file.name}")
    }

    /** It was never sealed here, or was cut off. */
    private class Malformed : Exception()

    private companion object {
        const val TRANSFORMATION = "AES/GCM/NoPadding"
        const val VERSION: Byte = 1
        const val NONCE = 12
        const val HEAD = 1 + NONCE
        const val TAG_BITS = 128
        const val NEXT = ".next"
        const val LOST = ".lost"
        val OWNER_ONLY: Set<PosixFilePermission> = PosixFilePermissions.fromString("rw-------")
        val NAME = Regex("[a-z_-]{1,32}")
    }
}
